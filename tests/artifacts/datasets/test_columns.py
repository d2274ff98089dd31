"""A file as it is: other columns, answers inside a text, no ids, no splits, packed."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from artifacts.datasets import answer_pattern
from artifacts.datasets import rows as rows_module
from artifacts.datasets.columns import as_problems
from artifacts.datasets.files import read_problem_file
from artifacts.datasets.problems import Datasets
from artifacts.datasets.rows import Row
from schemas.config import Columns
from schemas.errors import InputError

WORDS = [
    {
        "question": "Tom has 2 bags of 600. How many?",
        "answer": "2*600=1200\n#### 1,200",
        "level": 1,
    },
    {"question": "And 3 less than 1?", "answer": "1-3\n#### -2", "level": 2},
    {"question": "What is 0?", "answer": "#### 7\n#### 0", "level": 2},
]
GSM8K = Columns(
    prompt_column="question", answer_column="answer", answer_pattern=r"#### (-?[\d,]+)",
    family_column="level",
)  # fmt: skip


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def written(folder: Path, rows: list[dict[str, Any]], ending: str) -> Path:
    path = folder / f"words{ending}"
    plain = jsonl(folder / "plain.jsonl", rows)
    if ending.startswith(".csv"):
        plain = folder / "plain.csv"
        with plain.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    if ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif ending.lower().endswith(".gz"):
        path.write_bytes(gzip.compress(plain.read_bytes()))
    elif ending.endswith(".zst"):
        with pa.output_stream(str(path), compression="zstd") as out:
            out.write(plain.read_bytes())
    else:
        path.write_bytes(plain.read_bytes())
    return path


@pytest.mark.parametrize(
    "ending", [".jsonl", ".csv", ".parquet", ".jsonl.gz", ".csv.gz", ".JSONL.GZ", ".csv.zst",
               ".jsonl.zst"],
)  # fmt: skip
def test_word_problems_are_read_as_they_are(tmp_path: Path, ending: str) -> None:
    table = read_problem_file(str(written(tmp_path, WORDS, ending)), GSM8K)
    assert table["prompt"].to_pylist() == [row["question"] for row in WORDS]
    assert table["expected_answer"].to_pylist() == ["1200", "-2", "0"], "of the last match"
    assert table["family"].to_pylist() == ["1", "2", "2"]
    assert table["split"].unique().to_pylist() == ["all"]
    assert len(set(table["problem_id"].to_pylist())) == 3


def test_ids_that_are_made_stay_when_rows_are_added_or_moved(tmp_path: Path) -> None:
    before = read_problem_file(str(jsonl(tmp_path / "a.jsonl", WORDS)), GSM8K)
    more = [{"question": "New?", "answer": "#### 5", "level": 1}, *reversed(WORDS)]
    after = read_problem_file(str(jsonl(tmp_path / "b.jsonl", more)), GSM8K)
    ids = dict(zip(before["prompt"].to_pylist(), before["problem_id"].to_pylist(), strict=True))
    for prompt, identity in zip(
        after["prompt"].to_pylist(), after["problem_id"].to_pylist(), strict=True
    ):
        assert ids.get(prompt, identity) == identity


@given(st.sets(st.text(min_size=1), min_size=1, max_size=40), st.sampled_from(["80/20", "8/1/1"]))
def test_a_split_by_hash_depends_on_the_prompt_alone(prompts: set[str], shares: str) -> None:
    columns = Columns(split_by_hash=shares)

    def splits(chosen: list[str]) -> dict[str, str]:
        rows: list[tuple[int, Row]] = [
            (n, {"id": n, "prompt": p, "expected_answer": "1"}) for n, p in enumerate(chosen)
        ]
        return {str(row["prompt"]): str(row["split"]) for _, row in as_problems(rows, columns, "f")}

    every = splits(sorted(prompts))
    assert set(every.values()) <= {"train", "dev", "holdout"}
    assert "dev" not in every.values() or shares == "8/1/1"
    for prompt in prompts:
        assert splits([prompt])[prompt] == every[prompt]


def test_shares_are_what_was_asked_for(tmp_path: Path) -> None:
    rows = [{"id": n, "prompt": f"What is {n}?", "expected_answer": n} for n in range(5000)]
    path = jsonl(tmp_path / "many.jsonl", rows)
    table = read_problem_file(str(path), Columns(split_by_hash="80/10/10"))
    count = Counter(table["split"].to_pylist())
    # five standard deviations of a binomial
    assert abs(count["train"] - 4000) < 142
    assert abs(count["dev"] - 500) < 107
    datasets, columns = Datasets(), Columns(split_by_hash="80/10/10")
    assert datasets.load(str(path), "dev", columns=columns).num_rows == count["dev"]
    assert datasets.load(str(path), "dev").num_rows == 5000, "a file without splits is one split"
    assert datasets.parsed == 2, "read once for each way to read it"


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("option", ["id_column", "family_column", "split_column"])
def test_a_column_that_is_named_and_that_no_row_has_is_refused(
    option: str, ending: str, tmp_path: Path
) -> None:
    rows = [
        {"prompt": f"{number}?", "expected_answer": str(number), "part": part}
        for number, part in enumerate(["train", "holdout"])
    ]
    path = str(written(tmp_path, rows, ending))
    named, mistyped = Columns(**{option: "part"}), Columns(**{option: "prat"})
    assert read_problem_file(path, named, strict=True).num_rows == 2
    datasets = Datasets()
    datasets.strict = True
    with pytest.raises(InputError, match=r"no row has the column prat; correct --[a-z]+-column"):
        datasets.load(path, "holdout", columns=mistyped)
    assert read_problem_file(path, mistyped).num_rows == 2, "what an earlier run was told"
    usual = Columns(**{option: Columns.model_fields[option].default})
    assert read_problem_file(path, usual, strict=True).num_rows == 2, "a record says it all"


def test_a_column_of_splits_that_has_nothing_makes_no_holdout(tmp_path: Path) -> None:
    rows = [{"prompt": "1?", "expected_answer": "1", "part": None}]
    path = str(jsonl(tmp_path / "rows.jsonl", rows))
    with pytest.raises(InputError, match="no row has the column part; correct --split-column"):
        read_problem_file(path, Columns(split_column="part"), strict=True)


def test_splits_of_what_has_its_own_are_not_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    jsonl(tmp_path / "data" / "test.jsonl", [{"prompt": "1?", "expected_answer": "1", "part": "x"}])
    datasets = Datasets()
    for strict in (False, True):
        datasets.strict = strict
        for name in ("arithmetic", str(tmp_path)):
            split = "holdout" if name == "arithmetic" else "test"
            if not strict:
                assert datasets.load(name, split, columns=Columns(split_column="part")).num_rows
                continue
            with pytest.raises(InputError, match="--split-column part"):
                datasets.load(name, split, columns=Columns(split_column="part"))


def test_ids_of_a_parquet_file_may_be_in_the_column_of_our_own_tables(tmp_path: Path) -> None:
    rows = [{"problem_id": "mine", "prompt": "1?", "expected_answer": "1"}]
    path = written(tmp_path, rows, ".parquet")
    for columns in (Columns(), Columns(id_column="problem_id")):
        made = read_problem_file(str(path), columns, strict=True)
        assert made["problem_id"].to_pylist() == ["mine"]


BAD = {
    "no such column": (
        {"question": "q", "answer": "1"}, {"prompt_column": "text", "answer_column": "answer"},
        r"row 1: text is missing; name it with --prompt-column; there are question, answer",
    ),
    "no answer column": (
        {"prompt": "q"}, {}, r"row 1: expected_answer is missing; name it with --answer-column",
    ),
    "nothing found": (
        {"prompt": "q", "expected_answer": "none"}, {"answer_pattern": r"#### (\d+)"},
        r"row 1: --answer-pattern #### \(\\d\+\) finds nothing in 'none'",
    ),
    "an empty group": (
        {"prompt": "q", "expected_answer": "x"}, {"answer_pattern": r"x(\d+)?"}, "finds nothing",
    ),
    "no integer found": (
        {"prompt": "q", "expected_answer": "#### 1.5"}, {"answer_pattern": r"#### (.+)"},
        "'1.5|\"1.5\" is not an integer",
    ),
    "commas in wrong places": (
        {"prompt": "q", "expected_answer": "#### 1,2"}, {"answer_pattern": r"#### (.+)"},
        "\"1,2\" is not an integer",
    ),
    "a pattern on a number": (
        {"prompt": "q", "expected_answer": 1.5}, {"answer_pattern": r"(\d+)"},
        "the answer is 1.5, not text; leave --answer-pattern out",
    ),
    "a text around the answer": (
        {"prompt": "q", "answer": "4*6=24"}, {"answer_column": "answer"},
        'row 1: answer "4.6=24" is not an integer; write it in plain digits, .* --answer-pattern',
    ),
    "an empty question": (
        {"question": " ", "expected_answer": 1}, {"prompt_column": "question"}, "question is empty",
    ),
    "splits twice": (
        {"prompt": "q", "expected_answer": 1, "split": "dev"}, {"split_by_hash": "80/20"},
        "row 1: has a split already; leave --split-by-hash out",
    ),
}  # fmt: skip


def test_shares_that_make_another_sum_are_refused_where_they_are_given(tmp_path: Path) -> None:
    datasets, columns = Datasets(), Columns(split_by_hash="80/10")
    path = str(
        jsonl(tmp_path / "p.jsonl", [{"prompt": f"{n}?", "expected_answer": 1} for n in range(50)])
    )
    assert datasets.load(path, "train", columns=columns).num_rows, "as an earlier run was told"
    datasets.strict = True
    with pytest.raises(
        InputError, match="--split-by-hash 80/10: its parts make 90 in all, not 100"
    ):
        datasets.load(path, "train", columns=columns)


@pytest.mark.parametrize(("row", "columns", "words"), BAD.values(), ids=BAD.keys())
def test_what_does_not_fit_is_one_line_with_its_row(
    row: dict[str, Any], columns: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = jsonl(tmp_path / "bad.jsonl", [row])
    with pytest.raises(InputError, match=words) as caught:
        read_problem_file(str(path), Columns(**columns))
    assert "\n" not in str(caught.value)


ENDLESS = "a" * 40


def test_a_pattern_that_would_search_for_years_is_ended_in_the_row_where_it_does(
    tmp_path: Path,
) -> None:
    rows = [{"prompt": f"{n}?", "expected_answer": "1b"} for n in range(130)]
    rows[120]["expected_answer"] = ENDLESS
    path = jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(InputError) as caught:
        read_problem_file(str(path), Columns(answer_pattern="((?:[a1]+)+)b"))
    said = str(caught.value)
    assert f"row 121: --answer-pattern ((?:[a1]+)+)b takes more than 0.5 s in '{ENDLESS}'; " in said
    assert "\n" not in said
    path.write_text(path.read_text().replace(ENDLESS, "7b"))
    table = read_problem_file(str(path), Columns(answer_pattern="((?:[a17]+)+)b"))
    assert table["expected_answer"].to_pylist() == ["1"] * 120 + ["7"] + ["1"] * 9


def test_a_pattern_that_is_slow_everywhere_is_ended_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_pattern, "ROW_SECONDS", 100.0)
    rows = [{"prompt": f"{n}?", "expected_answer": ENDLESS} for n in range(2)]
    path = jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(InputError, match="rows 1 to 2: --answer-pattern .* takes too much time"):
        read_problem_file(str(path), Columns(answer_pattern="((?:a+)+)b"))


def test_the_same_question_twice_is_refused_where_ids_are_made(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "twice.jsonl", [WORDS[0], WORDS[0]])
    with pytest.raises(InputError, match="row 2: id .* is a duplicate of row 1"):
        read_problem_file(str(path), GSM8K)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("answer_pattern", r"\d+", "has 0 groups"),
        ("answer_pattern", r"(\d)(\d)", "has 2 groups"),
        ("answer_pattern", "(", "is no regular expression"),
        ("split_by_hash", "80", "two or three shares"),
        ("split_by_hash", "80/0/20", "two or three shares"),
        ("split_by_hash", "1/1/1/1", "two or three shares"),
        ("split_by_hash", "٨٠/٢٠", "two or three shares"),
        ("prompt_column", "", "at least 1 character"),
    ],
)
def test_settings_that_mean_nothing_are_refused(setting: str, value: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Columns.model_validate({setting: value})


def test_a_damaged_or_endless_packed_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ending in (".jsonl.gz", ".csv.gz", ".jsonl.zst", ".csv.zst"):
        whole = written(tmp_path, WORDS, ending).read_bytes()
        for content in (whole[: len(whole) // 2], b"not packed at all", b""):
            path = tmp_path / f"damaged{ending}"
            path.write_bytes(content)
            with pytest.raises(
                InputError, match=rf"damaged{ending}.*(cannot be read|no rows|no col)"
            ):
                read_problem_file(str(path), GSM8K)
    monkeypatch.setattr(rows_module, "MOST_BYTES", 100)
    with pytest.raises(InputError, match="holds more than 0 GB"):
        read_problem_file(str(written(tmp_path, WORDS, ".jsonl.gz")), GSM8K)
    (tmp_path / "table.parquet.gz").write_bytes(gzip.compress(b"x"))
    with pytest.raises(InputError, match=r"the ending \.gz is not known"):
        read_problem_file(str(tmp_path / "table.parquet.gz"))
