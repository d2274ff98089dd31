"""`python -m bench.engines`: each engine beside our own sampler, in speed and log-probabilities.

Rounds in turn, ours and theirs, each with problems and a seed of its own, on the default model
unless another folder is named. It starts each server and ends it. Without vLLM's environment, which
`make vllm` makes, vLLM is left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.process import ROOT, Record, run
from bench.served import NAME, transformers_serve, vllm

VLLM = ROOT / ".venv-vllm/bin/python"
DRAWING = json.dumps({"generation_config": json.dumps({"do_sample": True, "top_k": 0})})
ONE_BY_ONE: Record = {
    "text_prompts": True, "samples_per_request": 1, "num_concurrent": 1, "extra_body": DRAWING,
}  # fmt: skip
NEW_TOKENS, COMPARED = 10, 8


@dataclass(frozen=True)
class Shape:
    """So many problems with so many samples each, in so many rounds."""

    problems: int
    samples: int
    rounds: int

    def __str__(self) -> str:
        return f"{self.problems} x {self.samples}"


@dataclass(frozen=True)
class Engine:
    """A server to ask: how it is called here, how it starts, and how it has to be asked."""

    name: str
    started: Callable[[], AbstractContextManager[int]]
    model: str
    asked: Record
    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class Row:
    """What was measured of an engine in one shape, round by round."""

    engine: Engine
    shape: Shape
    ours: list[Record]
    theirs: list[Record]


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vllm", type=Path, default=VLLM, help="the Python that has vLLM")
    parser.add_argument("--model", type=Path, help="a folder instead of the default model")
    parser.add_argument("--quick", action="store_true", help="so small that the code is tested")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench") as scratch:
        folder = given.model or default_model(Path(scratch) / "home")
        rows = []
        for engine in engines(folder, given.vllm, Path(scratch), given.quick):
            with served(engine) as base_url:
                for shape in engine.shapes:
                    rows.append(compared(engine, shape, folder, base_url, Path(scratch)))
        print("\n".join(lines(rows)))


def engines(folder: Path, python: Path, scratch: Path, quick: bool) -> Iterator[Engine]:
    """The servers that can be started here."""
    sizes = [(3, 2, 1)] if quick else [(48, 4, 3), (64, 16, 2)]
    shapes = tuple(Shape(*one) for one in sizes)
    if python.is_file():
        for dtype in ("float32",) if quick else ("float32", "bfloat16"):
            yield Engine(
                f"vLLM, {dtype}",
                partial(vllm, python, folder, scratch / f"vllm-{dtype}", dtype=dtype),
                NAME,
                {"num_concurrent": 64},
                shapes,
            )
    else:
        print(f"vLLM is left out: there is none in {python}\n")
    yield Engine(
        "transformers serve",
        partial(transformers_serve, folder, scratch / "serve"),
        str(folder),
        ONE_BY_ONE,
        shapes[:1],  # a sample at a time takes long
    )


def default_model(home: Path) -> Path:
    """The folder of the default model, made in a data folder."""
    home.mkdir()
    return Path(run("setting", {"computing_alone": True}, home=home)["folder"])


@contextmanager
def served(engine: Engine) -> Iterator[str]:
    """The address of its API, until the block ends."""
    with engine.started() as port:
        yield f"http://127.0.0.1:{port}/v1"


def compared(engine: Engine, shape: Shape, folder: Path, base_url: str, scratch: Path) -> Row:
    """Rounds of both sides in turn; the differences are taken in the first."""
    given: Record = {
        "folder": str(folder), "new_tokens": NEW_TOKENS,
        "problem_count": shape.problems, "samples": shape.samples,
    }  # fmt: skip
    server = {"base_url": base_url, "tokenizer": str(folder)} | engine.asked
    asked = {"model": engine.model, "server": server}
    ours, theirs = [], []
    for number in range(shape.rounds):
        same = given | {"first": number * shape.problems, "seed": number}
        ours.append(run("engine", same, home=scratch / "home"))
        first = {"compared": min(COMPARED, shape.problems)} if number == 0 else {}
        theirs.append(run("engine", same | asked | first, home=scratch / "home"))
    return Row(engine, shape, ours, theirs)


def lines(rows: list[Row]) -> Iterator[str]:
    """The table."""
    yield "| engine | problems x samples | completions/s | in this process | in this process is |"
    yield "|---|---|---|---|---|"
    for row in rows:
        ours, theirs = speeds(row.ours), speeds(row.theirs)
        ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
        yield (
            f"| {row.engine.name} | {row.shape} | {statistics.median(theirs):.1f} | "
            f"{statistics.median(ours):.1f} | {statistics.median(ratios):.1f} x as fast |"
        )
    yield "\n| engine | tokens compared | mean, nats | largest, nats |\n|---|---|---|---|"
    for row in rows:
        if row.shape != row.engine.shapes[0]:
            continue
        found = row.theirs[0]
        if "mean_nats" in found:
            told = f"{found['mean_nats']:.1e} | {found['largest_nats']:.1e}"
            yield f"| {row.engine.name} | {found['compared_tokens']} | {told} |"
        else:
            yield f"| {row.engine.name} | none: it gives text alone | | |"
    busy = [one["other_cores_busy"] for row in rows for one in row.ours]
    yield f"\nOther programs kept {statistics.median(busy):.1f} cores busy while ours was measured."


def speeds(records: list[Record]) -> list[float]:
    """Completions a second, round by round."""
    return [float(one["completions_per_second"]) for one in records]


if __name__ == "__main__":
    main()
