"""Every reader with the inputs that are made for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis.strategies import SearchStrategy

from tests.fuzz.inputs import commands, models, parquet, templates, text
from tests.fuzz.judge import Answer, judge
from tests.fuzz.readers import models as model_readers
from tests.fuzz.readers import options, rows, stored
from tests.fuzz.readers import templates as template_readers
from tests.fuzz.room import Room

CORPUS = Path(__file__).with_name("corpus")
Read = Callable[[bytes, Room], None]


@dataclass(frozen=True)
class Target:
    """A reader, its inputs, and how many of them `make fuzz` and `make test` try.

    `guided` is how many more a coverage-guided fuzzer makes; 0 where most of the work is in a
    library that it cannot see into.
    """

    name: str
    read: Read
    inputs: Callable[[], SearchStrategy[bytes]]
    many: int
    few: int
    guided: int = 0

    def run(self, content: bytes, room: Room) -> Answer:
        """Judge one input, and what it left in the data folder."""
        answer = judge(lambda: self.read(content, room))
        room.check_nothing_half_written()
        return answer

    @property
    def kept(self) -> list[Path]:
        """The inputs that are tried every time: seeds, and what was found once."""
        return sorted((CORPUS / self.name).glob("*"))


TARGETS = {
    target.name: target
    for target in (
        Target("dataset_jsonl", rows.dataset_jsonl, text.dataset_jsonl, 5000, 150, 15_000),
        Target("dataset_csv", rows.dataset_csv, text.dataset_csv, 4000, 100, 10_000),
        Target("dataset_parquet", rows.dataset_parquet, parquet.dataset_parquet, 4000, 100),
        Target(
            "completions_jsonl", rows.completions_jsonl, text.completions_jsonl, 3000, 60, 10_000
        ),
        Target(
            "completions_parquet", rows.completions_parquet, parquet.completions_parquet, 1000, 30
        ),
        Target("golden", rows.golden, text.golden, 4000, 100, 10_000),
        Target("table", stored.table, parquet.table, 1000, 30),
        Target("record", stored.record, commands.record_file, 4000, 100, 10_000),
        Target("json_file", stored.json_file, text.json_file, 4000, 100, 15_000),
        Target("command_line", options.command_line, commands.command_line, 8000, 150, 10_000),
        Target("model_name", model_readers.model_name, models.model_name, 3000, 60),
        Target("weights", model_readers.weights, models.weights, 4000, 100, 15_000),
        Target("model_folder", model_readers.model_folder, models.model_folder, 1000, 20),
        Target(
            "template_yaml",
            template_readers.template_yaml,
            templates.template_yaml,
            4000,
            100,
            10_000,
        ),
        Target(
            "template_toml",
            template_readers.template_toml,
            templates.template_toml,
            4000,
            100,
            10_000,
        ),
        Target("template", model_readers.template, models.template, 300, 5),
    )
}
