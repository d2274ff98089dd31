"""Readers of what the data folder keeps, which may be damaged or forged: tables and JSON files."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from artifacts.store.checkpoints import read_checkpoint
from artifacts.store.key_index import KeyIndex
from artifacts.store.parquet_table import SCHEMAS, provenance_of, read_parquet
from artifacts.tracking.files import LocalFiles
from artifacts.tracking.history import RunRecord
from flows.orchestration.up_file import UP_FILE, read_up_file
from schemas.config import EvalConfig, LearningConfig, RunConfig, SelectionConfig
from schemas.errors import InputError
from schemas.files import json_object
from schemas.loops import EVALUATION
from tests.fuzz.room import Room

CONFIGURATIONS: tuple[type[RunConfig], ...] = (EvalConfig, SelectionConfig, LearningConfig)


def table(content: bytes, room: Room) -> None:
    """A stored table of any kind; what is accepted is valid and is written and read the same."""
    path = room.file("t.parquet", content)
    refusals = 0
    for kind, schema in SCHEMAS.items():
        try:
            found = read_parquet(path, schema)
            provenance_of(found)
        except InputError:
            refusals += 1
            continue
        reference = room.store.write(schema.kind, found, producer="fuzz")  # type: ignore[arg-type]
        assert reference.kind == kind
        assert room.store.read(reference).equals(found)
    if refusals == len(SCHEMAS):
        read_parquet(path, SCHEMAS["completions"])
        provenance_of(read_parquet(path, SCHEMAS["completions"]))


def record(content: bytes, room: Room) -> None:
    """The JSON files that are kept with a run: its result, configurations, checkpoint, key."""
    folder = room.folder("run")
    for name in ("result.json", "config.json", "checkpoint.json"):
        (folder / name).write_bytes(content)
    run = RunRecord(
        "0" * 32, "run", EVALUATION, "FINISHED", 0, {}, {}, {}, lambda: LocalFiles(folder)
    )
    refusals: list[InputError] = []
    readers: list[Callable[[], object]] = [
        run.result,
        *(partial(_configuration, run, kind) for kind in CONFIGURATIONS),
        partial(read_checkpoint, folder),
        partial(KeyIndex(folder).read, "result"),
    ]
    for reader in readers:
        try:
            reader()
        except InputError as refusal:
            refusals.append(refusal)
    up = room.data_dir.root / UP_FILE
    up.write_bytes(content)
    read_up_file(room.data_dir)
    up.unlink()
    if len(refusals) == len(readers):
        raise refusals[0]


def _configuration(run: RunRecord, kind: type[RunConfig]) -> None:
    """What is accepted is written and read the same."""
    config = run.config(kind)
    assert kind.model_validate_json(config.model_dump_json()) == config


def json_file(content: bytes, room: Room) -> None:
    """Any JSON object within its limits; what is accepted can be printed again."""
    found = json_object(content, "file")
    assert isinstance(found, dict)
    json.dumps(found)
