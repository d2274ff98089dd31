"""Our reading of a repository's layout against that of the package `datasets`, row by row."""

from __future__ import annotations

import gzip
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.datasets.files import rows_of_files
from artifacts.datasets.folder import folder_splits
from schemas.config import Columns

COLUMNS = Columns(prompt_column="question", answer_column="answer")
Splits = Mapping[str, list[tuple[str, str]]]


def card(text: str) -> str:
    """A card whose front matter has these configs."""
    return f"---\nlicense: mit\nconfigs:\n{text}---\n# A dataset\n"


# what is in the repository, and the config that is asked for
LAYOUTS: Mapping[str, tuple[Mapping[str, str], str | None]] = {
    "one file": ({"anything.jsonl": ""}, None),
    "files named by split": ({"train.jsonl": "", "test.jsonl": ""}, None),
    "other words for splits": ({"training.csv": "", "dev.csv": "", "eval.csv": ""}, None),
    "words within names": ({"my-train-file.jsonl": "", "my_valid.jsonl": ""}, None),
    "folders named by split": (
        {"train/a.jsonl": "", "train/b.jsonl": "", "test/c.jsonl": ""},
        None,
    ),
    "shards with a split of their own": (
        {
            "data/train-00000-of-00002.parquet": "",
            "data/train-00001-of-00002.parquet": "",
            "data/hard-00000-of-00001.parquet": "",
        },
        None,
    ),
    "packed files": ({"train.jsonl.gz": "", "test.jsonl.gz": ""}, None),
    "hidden files": ({"train.jsonl": "", ".cache/test.jsonl": "", "__made/test.jsonl": ""}, None),
    "a card with two configs": (
        {
            "README.md": card(
                "- config_name: main\n  data_files:\n"
                "  - split: train\n    path: main/train-*\n  - split: test\n    path: main/test-*\n"
                "- config_name: other\n  data_files:\n  - split: train\n    path: other/*\n"
            ),
            "main/train-00000-of-00001.parquet": "",
            "main/test-00000-of-00001.parquet": "",
            "other/a.parquet": "",
        },
        "main",
    ),
    "a card with a default": (
        {
            "README.md": card(
                "- config_name: a\n  data_files: a.csv\n"
                "- config_name: b\n  data_files: b.csv\n  default: true\n"
            ),
            "a.csv": "",
            "b.csv": "",
        },
        None,
    ),
    "a card with a folder": (
        {
            "README.md": card("- config_name: deep\n  data_dir: deep\n"),
            "deep/train.csv": "",
            "deep/test.csv": "",
            "train.csv": "",
        },
        "deep",
    ),
    "a card with lists and stars": (
        {
            "README.md": card(
                "- config_name: default\n  data_files:\n"
                '  - split: train\n    path: ["x/*.jsonl", "y/**/*.jsonl"]\n'
            ),
            "x/1.jsonl": "",
            "x/deeper/2.jsonl": "",
            "y/3.jsonl": "",
            "y/deeper/4.jsonl": "",
        },
        None,
    ),
    "a card without configs": (
        {"README.md": "---\nlicense: mit\n---\n", "data/train.csv": "", "data/validation.csv": ""},
        None,
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_splits_and_rows_are_those_of_the_package(layout: str, tmp_path: Path) -> None:
    files, config = LAYOUTS[layout]
    folder = tmp_path / "repository"
    for number, (name, text) in enumerate(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text:
            path.write_text(text)
        else:
            write_rows(
                path, [{"question": f"{name} {n}", "answer": number * 10 + n} for n in (1, 2)]
            )
    ours = read_by_us(folder, config)
    assert ours == read_by_the_package(folder, config, tmp_path / "cache")
    assert all(len(rows) >= 2 for rows in ours.values())


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a file of rows by its ending."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        path.write_text(
            "question,answer\n" + "".join(f"{r['question']},{r['answer']}\n" for r in rows)
        )
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text(lines)


def read_by_us(folder: Path, config: str | None) -> Splits:
    """Questions and answers by split, in the order of the rows."""
    splits, _ = folder_splits(folder, config)
    return {
        split: [
            (str(row["question"]), str(row["answer"]))
            for _, row in rows_of_files([folder / one for one in files], COLUMNS)
        ]
        for split, files in splits.items()
    }


def read_by_the_package(folder: Path, config: str | None, cache: Path) -> Splits:
    """The same, read by `datasets`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package's own dependencies
        import datasets

        datasets.disable_progress_bars()
        found = datasets.load_dataset(str(folder), name=config, cache_dir=str(cache))
        return {
            str(split): [(str(row["question"]), str(row["answer"])) for row in rows]
            for split, rows in found.items()
        }
