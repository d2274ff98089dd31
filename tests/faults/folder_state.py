"""What is in a data folder, read without the product: files by their bytes, MLflow by SQL.

Names of runs, times and paths differ from one run to the next, so they are left out; everything
else has to be as in a folder that nobody harmed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from artifacts.unsent.prompts import IS_PROMPT

TAG = "threeloops."
# begun and not finished, wherever it lies
LEFTOVERS = (".writing-*", "*.partial", "*.former", "*.new", "*.new-*", ".aside-*", "*.tmp")
SECONDS = "seconds"  # in the names of metrics that are never the same twice
ROW = ("problem_id", "sample_index")
PICK = ("problem_id", "rule")  # of a table of selections


@dataclass
class FolderState:
    """What has to be equal in two data folders, and what must not be there."""

    tables: Counter[str] = field(default_factory=Counter)  # kind and digest
    damaged: list[str] = field(default_factory=list)
    doubled_rows: int = 0
    rows: int = 0
    runs: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)  # logged values of a step, by name
    weights: set[str] = field(default_factory=set)
    versions: list[str] = field(default_factory=list)
    decisions: Counter[str] = field(default_factory=Counter)
    running: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)


@dataclass
class Difference:
    """How a folder differs from one that was never harmed."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.leftovers or self.others)


def read_state(root: Path) -> FolderState:
    """Everything of a folder that has been used."""
    state = FolderState()
    _read_tables(root, state)
    state.leftovers = sorted(
        str(path.relative_to(root))
        for pattern in LEFTOVERS
        for path in root.rglob(pattern)
        if "prefect" not in path.relative_to(root).parts
    )
    # no run can go on from a checkpoint without its record
    state.leftovers += [
        str(folder.relative_to(root))
        for folder in root.glob("checkpoints/*/*")
        if not (folder / "checkpoint.json").exists()
    ]
    if (root / "mlflow.db").exists():
        with contextlib.closing(sqlite3.connect(root / "mlflow.db", timeout=60)) as database:
            _read_tracking(database, root, state)
    return state


def compare(
    whole: FolderState,
    found: FolderState,
    *,
    more_runs: int = 0,
    measured_before: FolderState | None = None,
) -> Difference:
    """What was lost, doubled, left over or is different; `more_runs` equal ones are allowed.

    A command that was killed after its run had finished, and was given again, makes a second one.
    With `measured_before` the next command may measure other things than in a folder that was never
    harmed, and all that had been measured must be there: what a killed decision of the gate
    measured is evidence for the next one, which therefore takes more samples.
    """
    out = Difference(leftovers=list(found.leftovers))
    if measured_before is not None:
        for name in ("tables", "runs", "steps"):
            one, other = getattr(measured_before, name), getattr(found, name)
            out.lost += [f"{name}: {key}" for key in (one - other)]
    for name in ("tables", "runs", "steps", "decisions"):
        if measured_before is not None and name != "decisions":
            continue
        one, other = getattr(whole, name), getattr(found, name)
        out.lost += [f"{name}: {key}" for key in (one - other)]
        for key, times in (other - one).items():
            if key not in one:
                out.others.append(f"{name}: {key}")
            elif times > (more_runs if name in ("runs", "steps") else 0):
                out.doubled.append(f"{name}: {key} (+{times})")
    out.doubled += [f"rows: {found.doubled_rows}"] if found.doubled_rows else []
    out.doubled += ["versions"] if len(found.versions) > len(whole.versions) else []
    out.lost += ["versions"] if len(found.versions) < len(whole.versions) else []
    if len(found.versions) == len(whole.versions) and found.versions != whole.versions:
        out.others.append(f"versions: {found.versions}, not {whole.versions}")
    out.lost += [f"weights: {one}" for one in whole.weights - found.weights]
    out.others += [f"weights: {one}" for one in found.weights - whole.weights]
    out.others += [f"damaged: {one}" for one in found.damaged]
    out.others += [f"still running: {one}" for one in found.running]
    return out


def newest_run(root: Path, *, loop: str = "") -> str:
    """The id of the newest run that is no part of another, empty without one."""
    with contextlib.closing(sqlite3.connect(root / "mlflow.db", timeout=60)) as database:
        rows = database.execute(
            "select r.run_uuid from runs r where not exists (select 1 from tags t where "
            "t.run_uuid = r.run_uuid and t.key = 'mlflow.parentRunId') and (? = '' or exists "
            "(select 1 from tags t where t.run_uuid = r.run_uuid and t.key = 'threeloops.loop' "
            "and t.value = ?)) order by r.start_time desc, r.rowid desc limit 1",
            (loop, loop),
        ).fetchall()
    return rows[0][0] if rows else ""


def statuses(root: Path) -> dict[str, str]:
    """The status of each run; none where there is no database yet."""
    if not (root / "mlflow.db").exists():
        return {}
    with contextlib.closing(sqlite3.connect(root / "mlflow.db", timeout=60)) as database:
        return dict(database.execute("select run_uuid, status from runs").fetchall())


def _read_tables(root: Path, state: FolderState) -> None:
    for path in sorted(root.glob("tables/*/*.parquet")):
        content = path.read_bytes()
        name = f"{path.parent.name} {path.stem[:16]}"
        state.tables[name] += 1
        if hashlib.sha256(content).hexdigest() != path.stem:
            state.damaged.append(str(path.relative_to(root)))
            continue
        table = pq.read_table(path)
        state.rows += table.num_rows
        row = PICK if path.parent.name == "selections" else ROW
        if set(row) <= set(table.column_names):
            keys = list(zip(*(table[name].to_pylist() for name in row), strict=True))
            state.doubled_rows += len(keys) - len(set(keys))
    for path in root.glob("tables/keys/*.json"):
        try:
            named = json.loads(path.read_bytes())
        except ValueError:
            state.damaged.append(str(path.relative_to(root)))
            continue
        if not (root / "tables" / named["kind"] / f"{named['digest']}.parquet").exists():
            state.damaged.append(f"{path.relative_to(root)} leads nowhere")


def _read_tracking(database: sqlite3.Connection, root: Path, state: FolderState) -> None:
    rows = database.execute("select run_uuid, status, artifact_uri from runs").fetchall()
    runs = {run: status for run, status, _ in rows}
    kept = root / "mlartifacts"
    folders = {run: kept / uri.partition("/mlartifacts/")[2] for run, _, uri in rows}
    state.running = [run for run, status in runs.items() if status == "RUNNING"]
    tags: dict[str, dict[str, str]] = {run: {} for run in runs}
    for run, key, value in database.execute("select run_uuid, key, value from tags"):
        tags[run][key] = value
    for run, status in runs.items():
        above = tags[run].get("mlflow.parentRunId", "")
        if status != "FINISHED" or (above and runs.get(above) != "FINISHED"):
            continue
        state.runs[_described(database, run, tags[run])] += 1
        state.damaged += [str(path.relative_to(root)) for path in _half_written(folders[run])]
        if decision := tags[run].get(f"{TAG}decision"):
            state.decisions[f"{decision} {tags[run].get(f'{TAG}candidate')}"] += 1
            continue
        for key, step, count in database.execute(
            "select key, step, count(*) from metrics where run_uuid = ? group by key, step", (run,)
        ):
            state.steps[f"{tags[run].get(f'{TAG}stage', '')} {key} step {step}"] += count
    aliases: dict[str, list[str]] = {}
    for alias, version in database.execute(
        "select alias, version from registered_model_aliases order by alias"
    ):
        aliases.setdefault(str(version), []).append(alias)
    # MLflow keeps prompts among the models
    prompts = set(
        database.execute("select name, version from model_version_tags where key = ?", (IS_PROMPT,))
    )
    for name, version, source in database.execute(
        "select name, version, source from model_versions order by name, version"
    ):
        if (name, version) in prompts:
            state.versions.append(f"prompt {name}/{version}")
            continue
        folder = root / Path(source.removeprefix("file://")).relative_to(_former_root(source))
        state.weights |= set(_digests(folder))
        state.versions.append(f"{name}/{version} {' '.join(aliases.get(str(version), []))}")


def _described(database: sqlite3.Connection, run: str, tags: dict[str, str]) -> str:
    """A finished run by what it measured: its loop, tables and metrics.

    A decision is the same if it decides the same: what was measured for one that was killed is
    evidence for the next, as it should be.
    """
    if f"{TAG}loop" not in tags:
        return f"gate {tags.get(f'{TAG}decision')}"
    metrics = {
        key: value
        for key, value in database.execute(
            "select key, value from latest_metrics where run_uuid = ?", (run,)
        )
        if SECONDS not in key
    }
    tables = {key: value for key, value in tags.items() if key.startswith(f"{TAG}table.")}
    parameters = dict(
        database.execute("select key, value from params where run_uuid = ?", (run,)).fetchall()
    )
    head = f"{tags[f'{TAG}loop']} {tags.get(f'{TAG}stage', '')}".strip()
    parameters.pop("model", None)  # the model after learning lies in a folder of the run
    content = json.dumps([metrics, tables, parameters], sort_keys=True)
    return f"{head} {hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _half_written(folder: Path) -> Iterator[Path]:
    """The files of a finished run that are not whole."""
    for path in folder.rglob("*.json"):
        try:
            json.loads(path.read_bytes())
        except ValueError:
            yield path
    for path in folder.rglob("*.html"):
        if not path.read_bytes().rstrip().endswith(b"</html>"):
            yield path
    for path in folder.rglob("*.png"):
        if not path.read_bytes().endswith(b"IEND\xaeB`\x82"):
            yield path


def _former_root(source: str) -> Path:
    """The data folder in the address of a version's weights; a copy has that of its original."""
    path = Path(source.removeprefix("file://"))
    return next(folder for folder in path.parents if folder.name == "mlartifacts").parent


def _digests(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.safetensors")):
        yield hashlib.sha256(path.read_bytes()).hexdigest()[:16]
