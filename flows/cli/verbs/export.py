"""A version as a folder of one's own, or a run's answers as a file: copies with usual rights."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from artifacts.foreign.exported import ExportedRun
from artifacts.foreign.write_inspect import inspect_archive
from artifacts.foreign.write_lm_eval import lm_eval_lines
from artifacts.registry.resolve import resolve_policy
from artifacts.registry.versions import REGISTRY, registered_version
from artifacts.runs.measured import StoredMeasurement, find_measurement
from artifacts.store.atomic_file import write_new
from artifacts.store.data_dir import private_files
from artifacts.text.numbers import counted
from artifacts.text.visible import printable
from flows.cli.terminal import Terminal
from policy.files.atomic_folder import atomic_folder
from policy.model.load import fingerprint
from schemas.errors import InputError, StoreError
from schemas.files import exists
from schemas.outputs import ExportOutput
from tasks.runtime.runtime import Runtime

# the file's name where --out names none
FORMATS = {"jsonl": "{}.jsonl", "lm-eval": "samples_{}.jsonl", "inspect": "{}.eval"}


def export(runtime: Runtime, options: Namespace, terminal: Terminal) -> ExportOutput:
    """A version into a folder, or a run into a file of a format."""
    archive, what = runtime.archive, options.what
    if what.startswith(REGISTRY):
        if options.out is not None:
            raise InputError("is for runs", "--out", "name the folder with --to")
        _refuse_existing(Path(options.to), "--to")
        output = _version(runtime, what, Path(options.to))
    else:
        if options.to not in FORMATS:
            raise InputError(
                "is no format for a run", f"--to {options.to}", f"give {', '.join(FORMATS)}"
            )
        if options.out is not None:
            _refuse_existing(options.out, "--out")  # before the stored tables are read
        with private_files():  # it may fetch tables into the data folder
            measured = find_measurement(archive, what)
        name = FORMATS[options.to].format(measured.name.replace(":", "-"))
        output = _answers(measured, options.to, options.out or Path(name))
    terminal.out.print(printable(f"{output.written}  {output.contents}"), markup=False)
    return output


def _version(runtime: Runtime, name: str, folder: Path) -> ExportOutput:
    with private_files():  # it may fetch weights into the data folder
        registered_version(runtime.archive, name, "export")
        policy = resolve_policy(runtime.archive, name)
        source = runtime.archive.folders.find(policy)
    with atomic_folder(folder) as partial:
        _copy(source, partial)
        if fingerprint(partial) != policy.digest:
            raise StoreError("its files changed while they were copied", name)
    files = sum(path.is_file() for path in folder.rglob("*"))
    return ExportOutput(
        source=name, written=str(folder), format="model", digest=policy.digest,
        contents=f"{files} files of {name}",
    )  # fmt: skip


def _copy(source: Path, to: Path) -> None:
    """Copy what is in a folder without the narrow rights that it has in the data folder."""
    for path in sorted(source.rglob("*")):
        place = to / path.relative_to(source)
        if path.is_dir():
            place.mkdir()
        else:
            shutil.copyfile(path, place)


def _answers(measured: StoredMeasurement, form: str, path: Path) -> ExportOutput:
    _refuse_existing(path, "--out")
    if not write_new(path, _content(measured, form)):
        raise InputError("is there already", f"--out {path}", "name another file")
    return ExportOutput(
        source=measured.name, written=str(path), format=form,
        digest=measured.digests["completions"],
        contents=f"{counted(measured.problems.num_rows, 'problem')} x "
        f"{counted(1 if measured.rule else measured.samples, 'answer')} of {measured.name}",
    )  # fmt: skip


def _content(measured: StoredMeasurement, form: str) -> bytes:
    tables = (measured.problems, measured.completions, measured.scores)
    if form == "lm-eval":
        return lm_eval_lines(_told(measured), tables)
    if form == "inspect":
        return inspect_archive(_told(measured), tables)
    lines = [json.dumps(row, ensure_ascii=False) for row in _rows(measured)]
    return ("\n".join(lines) + "\n").encode()


def _told(measured: StoredMeasurement) -> ExportedRun:
    run, instrument = measured.run, measured.instrument
    return ExportedRun(
        name=measured.name,
        run_id=run.run_id,
        started_ms=run.started_ms,
        model=measured.model or measured.policy,
        dataset=run.parameters.get("dataset", instrument.dataset),
        scorer=instrument.scorer.split(":")[0],
        instrument=instrument.model_dump(),
        version=version("threeloops"),
    )


def _rows(measured: StoredMeasurement) -> Iterator[dict[str, Any]]:
    """A row a problem; the file is a dataset and the completions that answer it at once."""
    verdicts = {
        (row["problem_id"], row["sample_index"]): row for row in measured.scores.to_pylist()
    }
    answers: dict[str, list[dict[str, Any]]] = {}
    told = ["problem_id", "sample_index", "text", "finish_reason", "token_count", "sum_logprob"]
    for row in measured.completions.select(told).to_pylist():
        verdict = verdicts[row["problem_id"], row["sample_index"]]
        sample = {"completion": row["text"], "finish_reason": row["finish_reason"]}
        sample |= {name: row[name] for name in told[4:] if row[name] is not None}
        sample |= {name: verdict[name] for name in ("reward", "outcome", "code", "parsed_answer")}
        answers.setdefault(row["problem_id"], []).append(sample)
    for problem in measured.problems.to_pylist():
        kept = {"id": problem["problem_id"]}
        kept |= {name: problem[name] for name in ("prompt", "expected_answer", "split")}
        kept |= {"family": problem["family"]} if problem.get("family") else {}
        yield {**kept, "samples": answers[problem["problem_id"]]}


def _refuse_existing(path: Path, option: str) -> None:
    if exists(path) or path.is_symlink():
        raise InputError("is there already", f"{option} {path}", "name another place")
    if not path.parent.is_dir():
        raise InputError("no such folder", str(path.parent), "make it first")
