"""Whole commands with the files that they name; none of them loads a model or starts a server."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from schemas.errors import InputError
from tests.fuzz.inputs import commands, models, parquet, text
from tests.fuzz.readers.options import parser
from tests.fuzz.room import PROBLEMS

ANSWERS = '{"id": "a", "completion": "Final: 2"}\n{"id": "b", "completion": "Final: 5"}\n'
GOOD = {"problems.jsonl": PROBLEMS.encode(), "answers.jsonl": ANSWERS.encode()}
SPECIAL = (
    "pipe", "folder", "circle", "zero", "memory", "nowhere", "full", "/dev/stdin",
    "/proc/self/environ", ".", "",
)  # fmt: skip
# what makes a command line that is right end before it starts anything
STOPS = {
    "tokens": ["--model", "nowhere"],
    "up": ["--prefect-port", "70000"],
    **{verb: ["--dataset", "nowhere.jsonl"] for verb in ("demo", "eval", "learn", "select")},
}


@dataclass(frozen=True)
class Case:
    """The words of a command, and the files in the folder where it is started."""

    words: list[str]
    files: dict[str, bytes] = field(default_factory=dict)

    def lay(self, folder: Path, tiny: Path) -> None:
        """Put the files there, and nothing else but what every case may name."""
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        for name, content in {**GOOD, **self.files}.items():
            (folder / name).write_bytes(content)
        shutil.copytree(tiny, folder / "model")
        (folder / "folder.jsonl").mkdir()
        os.mkfifo(folder / "pipe.jsonl")
        links = {
            "circle": "circle.jsonl",
            "zero": "/dev/zero",
            "memory": "/proc/self/mem",
            "full": "/dev/full",
        }
        for name, target in links.items():
            (folder / f"{name}.jsonl").symlink_to(target)


def harmless(words: list[str]) -> list[str]:
    """The same words, made to end before anything is started where they are right."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            options = parser().parse_args(words)
    except (InputError, SystemExit):
        return words
    if options.verb in STOPS and not ("completions" in options or getattr(options, "resume", None)):
        return [*words, *STOPS[options.verb]]
    return words


@st.composite
def cases(draw: DrawFn) -> Case:
    """A command of one kind: its words, a file that it reads, or a thing that is no file."""
    match draw(
        st.sampled_from(
            ("words", "words", "replay", "rescore", "golden", "table", "model", "special")
        )
    ):
        case "words":
            said = [word.replace("\0", "") for word in draw(commands.words())]
            return Case(harmless(said))
        case "replay":
            name, content = draw(_dataset())
            verb = draw(st.sampled_from(("eval", "select")))
            words = [verb, "--dataset", name, "--completions", "answers.jsonl"]
            return Case([*words, *draw(st.sampled_from(([], ["--json"])))], {name: content})
        case "rescore":
            words = [
                "rescore",
                "answers.jsonl",
                "--dataset",
                "problems.jsonl",
                "--scorer",
                "contains_int@1",
            ]
            return Case(words, {"answers.jsonl": draw(text.completions_jsonl())})
        case "golden":
            return Case(
                ["rescore", "--golden", "golden.jsonl", "--dataset", "problems.jsonl"],
                {"golden.jsonl": draw(text.golden())},
            )
        case "table":
            content = draw(parquet.completions_parquet())
            return Case(["eval", "--completions", "t.parquet"], {"t.parquet": content})
        case "model":
            name = draw(models.model_name()).replace(b"\0", b"").decode("utf-8", "surrogateescape")
            verb = draw(st.sampled_from(("eval", "learn", "tokens")))
            first = [verb, *(["Final: 2"] if verb == "tokens" else ["--dataset", "nowhere.jsonl"])]
            return Case([*first, f"--model=no/{name}"])
    name = draw(st.sampled_from(SPECIAL))
    path = name if name.startswith("/") or name in (".", "") else f"{name}.jsonl"
    words = draw(
        st.sampled_from(
            (
                ["eval", "--completions", "answers.jsonl", "--dataset", path],
                ["eval", "--dataset", "problems.jsonl", "--completions", path],
                ["rescore", path, "--dataset", "problems.jsonl"],
                ["rescore", "--golden", path, "--dataset", "problems.jsonl"],
                ["eval", "--dataset", "nowhere.jsonl", "--model", path],
            )
        )
    )
    return Case(words)


@st.composite
def _dataset(draw: DrawFn) -> tuple[str, bytes]:
    ending = draw(st.sampled_from(("jsonl", "csv", "parquet")))
    made = {
        "jsonl": text.dataset_jsonl,
        "csv": text.dataset_csv,
        "parquet": parquet.dataset_parquet,
    }
    return f"d.{ending}", draw(made[ending]())
