"""A data folder with many older runs: a few real ones, and copies of them that seem older.

    python -m bench.past_runs FOLDER 10000

A tiny model is measured, selected from and trained once, and the gate is asked once. Then every run
is copied with its family, as often as it takes. A copy has ids, a name, a time, tables, files and,
where it learned, a registered version with a folder of its own. So it weighs on a command what a
run of its own would. Rows are copied inside MLflow's database by SQL. What a copy says of itself
(its tags, its files, the provenance of its tables) names the copies and not the originals.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from artifacts.store.data_dir import DataDir
from artifacts.store.keys import TaskKey
from artifacts.store.parquet_table import PROVENANCE_KEY, provenance_in
from artifacts.store.policy_folders import PolicyFolders
from bench.copied_rows import Family, copy_rows
from policy.model.load import fingerprint_of
from policy.model.tiny import make_tiny_model
from schemas.identity import bytes_digest, canonical_json, file_digest

ASKED = ("--limit", "4", "--samples", "2", "--max-new-tokens", "4", "--split", "holdout")
LEARNED = ("--steps", "1", "--problems-per-step", "2", "--dev-limit", "4")
SAME_START = 10  # families that measure the start of the real runs; each other has one of its own
DIGEST = re.compile(rb"[0-9a-f]{64}")


def make(scratch: Path, older: int) -> dict[str, str]:
    """Make the folder `scratch/OLDER` and say what is in it."""
    home = scratch / str(older)
    model, first = scratch / "tiny", scratch / "first"
    if not (first / "made").exists():
        shutil.rmtree(first, ignore_errors=True)
        shutil.rmtree(model, ignore_errors=True)
        make_tiny_model(model)
        _real_runs(first, model)
        (first / "made").touch()
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(first, home)
    # the first command in a folder that was moved puts its addresses right
    subprocess.run(_threeloops("runs"), env=_at(home), check=True, stdout=subprocess.DEVNULL)
    data_dir = DataDir(home)
    names = _names(data_dir.tracking_database)
    if older:
        _copy(data_dir, older)
    told = names | {"model": str(model)}
    (scratch / f"{older}.json").write_text(json.dumps(told), encoding="utf-8")
    return told


def _real_runs(home: Path, model: Path) -> None:
    for words in (
        ("eval", "--model", str(model), *ASKED),
        ("select", "--model", str(model), *ASKED),
        ("learn", "--model", str(model), *ASKED, *LEARNED),
        ("promote", "models:/threeloops/1"),
    ):
        done = subprocess.run(
            _threeloops(*words), env=_at(home), capture_output=True, text=True, check=False
        )
        if done.returncode not in (0, 1):
            raise SystemExit(f"{words} failed:\n{done.stderr[-3000:]}")


def _threeloops(*words: str) -> list[str]:
    return [sys.executable, "-m", "threeloops", *words]


def _at(home: Path) -> dict[str, str]:
    return os.environ | {"THREELOOPS_HOME": str(home)}


def _names(database: Path) -> dict[str, str]:
    """The names of the real runs, by verb."""
    with sqlite3.connect(database) as connection:
        runs = connection.execute("select name, run_uuid from runs order by start_time desc")
        found = {name.partition("-")[0]: (name, run_id) for name, run_id in runs}
    # the evaluation that is not a part of learning is the oldest, so it stays
    return {verb: name for verb, (name, _) in found.items()} | {"eval_id": found["eval"][1]}


def _copy(data_dir: DataDir, older: int) -> None:
    """Add families of copies until there are so many runs more."""
    copied = _Copied(data_dir)
    count = -(-older // len(copied.runs))
    families = [copied.family(number) for number in range(1, count + 1)]
    with sqlite3.connect(data_dir.tracking_database) as connection:
        copy_rows(connection, [*copied.runs, *copied.models], families)
    for family in families:
        copied.copy_files(family)
    _remember(data_dir, copied)


class _Copied:
    """The originals of one data folder, and what their copies are called."""

    def __init__(self, data_dir: DataDir) -> None:
        self.data_dir = data_dir
        with sqlite3.connect(data_dir.tracking_database) as connection:
            self.runs = dict(connection.execute("select run_uuid, name from runs").fetchall())
            self.models = [
                one for (one,) in connection.execute("select model_id from logged_models")
            ]
            self.version = connection.execute(
                "select source from model_versions where name = 'threeloops'"
            ).fetchone()[0]
            self.start = connection.execute(
                "select value from tags where key = 'threeloops.model_digest_before'"
            ).fetchone()[0]
        files = data_dir.tables.glob("*/*.parquet")
        self.tables = _parents_first({path.stem: path for path in files})
        self.learned = Path(self.version.removeprefix("file://"))
        self.policy = PolicyFolders(data_dir).files(self.learned)
        self.contents = {digest: pq.read_table(path) for digest, path in self.tables.items()}
        records = data_dir.run_artifacts.glob("*/artifacts/decision.json")
        self.decisions = [path.read_bytes() for path in records]
        self.folders: dict[str, str] = {}

    def family(self, number: int) -> Family:
        """Names of the copies of one family; its tables and its version are written."""
        instead: dict[str, str] = {}
        for run_id, name in self.runs.items():
            new = uuid.uuid4().hex
            instead |= {run_id: new, name: f"{name.rpartition('-')[0]}-{new[:6]}"}
        instead |= {one: f"m-{uuid.uuid4().hex}" for one in self.models}
        instead["models:/threeloops/1"] = f"models:/threeloops/{number + 1}"
        config = self._config(number)
        files = self.policy | {"config.json": bytes_digest(config)}
        instead[self.policy["config.json"]] = files["config.json"]
        instead[fingerprint_of(self.policy)] = fingerprint_of(files)
        if number > SAME_START:
            instead[self.start] = bytes_digest(f"start of family {number}".encode())
        family = Family(number, instead)
        for digest, path in self.tables.items():
            instead[digest] = self._table(family, path)
        for record in self.decisions:
            instead[bytes_digest(record)] = bytes_digest(family.renamed(record))
        return family

    def copy_files(self, family: Family) -> None:
        """The files of runs and of the learned model; what names nothing is linked, not copied."""
        artifacts = self.data_dir.run_artifacts
        for original in self.runs:
            _linked(family, artifacts / original, artifacts / family.instead[original], self.tables)
        original, new = self.learned, Path(str(self.learned).replace(
            self.learned.parent.name, family.instead[self.learned.parent.name]))  # fmt: skip
        _linked(family, original, new, {})
        (new / "config.json").unlink()
        (new / "config.json").write_bytes(self._config(family.number))
        self.folders[family.instead[fingerprint_of(self.policy)]] = str(new)

    def _config(self, number: int) -> bytes:
        """The configuration of the learned model, which differs from that of every other copy."""
        config = json.loads((self.learned / "config.json").read_bytes())
        return json.dumps(config | {"copy": number}, indent=2).encode()

    def _table(self, family: Family, path: Path) -> str:
        """The copy of a table, which names the copies of its parents; a key leads to it."""
        table = self.contents[path.stem]
        described = dict(table.schema.metadata or {})
        made = json.loads(family.renamed(described[PROVENANCE_KEY]))
        made["config"]["copy"] = family.number
        described = {name: family.renamed(value) for name, value in described.items()}
        described[PROVENANCE_KEY] = canonical_json(made).encode()
        beside = path.with_name(f"copy-{family.number}")
        for place, name in enumerate(table.column_names):
            if name.endswith("_digest"):
                values = [family.instead.get(one, one) for one in table[name].to_pylist()]
                table = table.set_column(place, table.schema.field(name), [values])
        pq.write_table(table.replace_schema_metadata(described), beside, compression="zstd")
        digest = file_digest(beside)
        new = beside.rename(path.with_name(f"{digest}.parquet"))
        key = TaskKey(path.parent.name, provenance_in(new)).digest  # type: ignore[arg-type]
        reference = {"kind": path.parent.name, "digest": digest, "rows": table.num_rows}
        (self.data_dir.tables / "keys" / f"{key}.json").write_text(json.dumps(reference))
        return digest


def _parents_first(tables: dict[str, Path]) -> dict[str, Path]:
    """The tables so that each comes after those that it names."""
    ordered: dict[str, Path] = {}

    def add(digest: str) -> None:
        if digest in ordered or digest not in tables:
            return
        content = b"".join((pq.read_schema(tables[digest]).metadata or {}).values())
        table = pq.read_table(tables[digest])
        named = [one.decode() for one in DIGEST.findall(content)]
        for name in table.column_names:
            named += table[name].to_pylist() if name.endswith("_digest") else []
        for one in named:
            if one != digest:
                add(one)
        ordered[digest] = tables[digest]

    for digest in tables:
        add(digest)
    return ordered


def _linked(family: Family, folder: Path, new: Path, tables: Mapping[str, Path]) -> None:
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        place = new / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.name == "tables" and (digest := file_digest(path)) in tables:
            table = tables[digest]
            os.link(table.with_name(f"{family.instead[digest]}.parquet"), place)
        elif path.name in ("result.json", "decision.json"):
            place.write_bytes(family.renamed(path.read_bytes()))
        else:
            os.link(path, place)


def _remember(data_dir: DataDir, copied: _Copied) -> None:
    """Let the data folder know the digests of the copies' models, as after they were used."""
    folders = PolicyFolders(data_dir)
    for folder in copied.folders.values():
        folders.files(Path(folder))


if __name__ == "__main__":
    os.umask(0o077)  # as the command does
    print(json.dumps(make(Path(sys.argv[1]).absolute(), int(sys.argv[2]))))
