"""Configs and splits of a repository, from its card or from the names of its files."""

from __future__ import annotations

import pytest

from artifacts.datasets.layout import Layout, layout_of
from schemas.errors import InputError

GSM8K = """---
license: mit
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: main/test-*
- config_name: socratic
  data_files:
  - split: train
    path: [socratic/train-*, socratic/more.parquet]
---
# A dataset of word problems
"""
FILES = (
    "README.md",
    "main/test-00000-of-00001.parquet",
    "main/train-00000-of-00002.parquet",
    "main/train-00001-of-00002.parquet",
    "socratic/more.parquet",
    "socratic/train-00000-of-00001.parquet",
)


def by_names(*paths: str) -> dict[str, list[str]]:
    layout = layout_of("", paths, "x")
    return {split: list(files) for split, files in layout.splits(None, "x").items()}


def test_a_card_names_configs_and_the_files_of_each_split() -> None:
    layout = layout_of(GSM8K, FILES, "hf:a/b")
    assert layout.splits("main", "hf:a/b") == {"train": FILES[2:4], "test": FILES[1:2]}
    assert layout.splits("socratic", "hf:a/b") == {"train": FILES[4:6]}


def test_of_several_configs_one_has_to_be_named() -> None:
    layout = layout_of(GSM8K, FILES, "hf:a/b")
    with pytest.raises(InputError, match=r"2 configs.*main, socratic, as hf:a/b:main"):
        layout.splits(None, "hf:a/b")
    with pytest.raises(InputError, match=r"no config 'x'; it has main, socratic"):
        layout.splits("x", "hf:a/b")


def test_the_default_config_needs_no_name() -> None:
    card = GSM8K.replace("socratic\n", "socratic\n  default: true\n", 1)
    layout = layout_of(card, FILES, "x")
    assert layout.splits(None, "x") == layout.splits("socratic", "x")
    only = layout_of(
        "---\nconfigs:\n- config_name: a\n  data_files: '*.csv'\n---\n", ["b.csv"], "x"
    )
    assert only.splits(None, "x") == {"train": ("b.csv",)}


def test_a_config_may_be_a_folder_whose_files_tell_the_splits() -> None:
    card = "---\nconfigs:\n- config_name: a\n  data_dir: easy\n---\n"
    layout = layout_of(card, ["easy/test.csv", "easy/train.csv", "hard/train.csv"], "x")
    assert layout.splits(None, "x") == {"train": ("easy/train.csv",), "test": ("easy/test.csv",)}


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.csv", ["a.csv"]),
        ("**/*.csv", ["a.csv", "d/b.csv", "d/e/c.csv"]),
        ("d/**", ["d/b.csv", "d/e/c.csv"]),
        ("d/?.csv", ["d/b.csv"]),
        ("./d/b.csv", ["d/b.csv"]),
        ("d/[ab].csv", ["d/b.csv"]),
    ],
)
def test_a_star_stays_within_a_folder_and_two_do_not(pattern: str, found: list[str]) -> None:
    card = f"---\nconfigs:\n- config_name: a\n  data_files: '{pattern}'\n---\n"
    layout = layout_of(card, ["a.csv", "d/b.csv", "d/e/c.csv"], "x")
    assert list(layout.splits(None, "x")["train"]) == found


def test_without_a_card_names_of_files_tell_the_splits() -> None:
    assert by_names("data/train-00000-of-00001.parquet", "data/rest-00000-of-00001.parquet") == {
        "train": ["data/train-00000-of-00001.parquet"],
        "rest": ["data/rest-00000-of-00001.parquet"],
    }
    assert by_names("my_train.csv", "eval1.csv", "dev-x.csv", "notes.csv") == {
        "train": ["my_train.csv"],
        "validation": ["dev-x.csv"],
        "test": ["eval1.csv"],
    }
    assert by_names("train/a.csv", "test/a.csv") == {
        "train": ["train/a.csv"],
        "test": ["test/a.csv"],
    }
    assert by_names("trained.jsonl", "dataset_infos.json", ".hidden/test.csv") == {
        "train": ["trained.jsonl"]
    }


def test_a_dataset_that_only_code_can_make_is_refused() -> None:
    with pytest.raises(InputError, match=r"made by code \(gsm8k.py\), which is never run"):
        layout_of("", ["README.md", "gsm8k.py", "dataset_infos.json"], "hf:a/b")


def test_files_that_cannot_be_read_are_named() -> None:
    with pytest.raises(InputError, match=r"no file of rows; it has README.md, data.arrow"):
        layout_of("", ["README.md", "data.arrow"], "hf:a/b")
    with pytest.raises(InputError, match="no file of rows; it has no files"):
        layout_of("", [], "hf:a/b")


@pytest.mark.parametrize(
    "front",
    [
        "configs: [",
        "configs:\n- data_files: a.csv",
        "configs:\n- config_name: a\n  data_files: [{split: train}]",
        "configs:\n- config_name: a\n  data_files: [{split: t, path: a}, {split: t, path: b}]",
        "configs: 5",
        "configs: {config_name: a, data_files: 5}",
        "? [" * 2000,
    ],
)
def test_a_card_that_cannot_be_read_is_one_line(front: str) -> None:
    with pytest.raises(InputError, match=r"README\.md: ") as caught:
        layout_of(f"---\n{front}\n---\n", ["train.csv"], "hf:a/b")
    assert "\n" not in str(caught.value)


def test_a_card_that_says_nothing_of_files_is_no_fault() -> None:
    for card in ("---\na: &a [*a]\n---\n", "---\n- 1\n---\n", "no front matter"):
        assert layout_of(card, ["train.csv"], "x").splits(None, "x") == {"train": ("train.csv",)}


def test_a_layout_is_found_by_the_name_of_its_config() -> None:
    assert Layout({"a": {"train": ("x",)}}, "a").splits("a", "x") == {"train": ("x",)}
