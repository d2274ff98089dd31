"""The completions of a run as the compact columns that its report searches, groups and shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from artifacts.report.page_data import PageRows
from artifacts.report.views import ORDER
from artifacts.text.visible import visible
from schemas.problems import problem_rows

ROW_CAP = 50_000
CHARACTER_CAP = 10_000_000
LONGEST_TEXT = 20_000  # characters of one completion that are kept
DIRECTIONS = ("", "won", "lost", "moved")


@dataclass(frozen=True)
class Sampled:
    """Completions and their scores, row by row the same, sampled at one stage of a run."""

    stage: str
    completions: pa.Table
    scores: pa.Table


@dataclass(frozen=True)
class Asked:
    """Problems, and what was sampled of them, in the order of the stages."""

    problems: pa.Table
    sampled: Sequence[Sampled]


def page_rows(
    asked: Sequence[Asked],
    selections: pa.Table | None = None,
    scores_before: pa.Table | None = None,
    *,
    cap: int = ROW_CAP,
    characters: int = CHARACTER_CAP,
) -> PageRows:
    """Columns for the page, as lists of numbers beside the lists that the numbers point into.

    At most `cap` rows and `characters` of text are kept, and of each problem all rows or none: of
    each of `asked` the problems answered worst first. Only where not even one problem fits are its
    failures kept first. `selections` marks what each rule picked; `scores_before` holds the scores
    that the same completions had under another scorer. Rows come failures first.
    """
    stages = [part.stage for group in asked for part in group.sampled]
    problems = pa.concat_tables([group.problems.select(PROBLEM_COLUMNS) for group in asked])
    rows = _all_rows(asked)
    if selections is not None:
        rows["picked"] = _picked(rows, problems, selections)
    if scores_before is not None:
        rows["was"], rows["change"] = _before(rows, scores_before)
    groups = np.repeat(np.arange(len(asked)), [group.problems.num_rows for group in asked])
    prompts = pa.chunked_array([part for g in asked for part in g.problems["prompt"].chunks])
    chosen = _kept(rows, prompts, groups, cap, characters)
    total = len(rows["problem"])
    left_out = np.setdiff1d(np.arange(total), chosen)
    used, problem = np.unique(rows["problem"][chosen], return_inverse=True)
    shown = problems.take(pa.array(used))
    texts, text = _dictionary(rows["text"], chosen)
    codes, code = _dictionary(rows["code"], chosen)
    families, family = _dictionary(shown["family"], None)
    page: PageRows = {
        "problems": {
            "id": [visible(value) for value in shown["problem_id"].to_pylist()],
            "prompt": [shown_text(value) for value in shown["prompt"].to_pylist()],
            "expected": shown["expected_answer"].to_pylist(),
            "family": family,
            "group": groups[used].tolist(),
        },
        "families": [visible(name) for name in families],
        "outcomes": list(ORDER),
        "texts": [shown_text(value) for value in texts],
        "codes": [visible(name) for name in codes],
        "problem": problem.tolist(),
        "stage": rows["stage"][chosen].tolist(),
        "sample": rows["sample"][chosen].tolist(),
        "outcome": rows["rank"][chosen].tolist(),
        "reward": _numbers(rows["reward"][chosen], 4),
        "logprob": _numbers(rows["logprob"][chosen], 3),
        "tokens": _numbers(rows["tokens"][chosen], 0),
        "text": text,
        "code": code,
        "stages": stages,
        "rules": _unique(selections["rule"]) if selections is not None else [],
        "total": total,
        "left_out": {
            name: int((rows["rank"][left_out] == rank).sum()) for rank, name in enumerate(ORDER)
        },
    }
    if "picked" in rows:
        page["picked"] = rows["picked"][chosen].tolist()
    if "was" in rows:
        was_codes, was = _dictionary(rows["was"], chosen)
        page["was_codes"], page["was"] = [visible(name) for name in was_codes], was
        page["directions"], page["change"] = list(DIRECTIONS), rows["change"][chosen].tolist()
    return page


PROBLEM_COLUMNS = ["problem_id", "prompt", "expected_answer", "family"]
Columns = dict[str, Any]


def _all_rows(asked: Sequence[Asked]) -> Columns:
    """The columns of every row of every stage, one after another."""
    parts: list[Columns] = []
    offset = 0
    for group in asked:
        for part in group.sampled:
            completions, scores = part.completions, part.scores
            row = problem_rows(group.problems, completions["problem_id"])
            parts.append(
                {
                    "problem": row.to_numpy() + offset,
                    "stage": np.full(completions.num_rows, len(parts)),
                    "sample": completions["sample_index"].to_numpy(),
                    "reward": scores["reward"].to_numpy(),
                    "logprob": completions["sum_logprob"].to_numpy(),
                    "tokens": completions["token_count"].to_numpy(),
                    "text": completions["text"],
                    "outcome": scores["outcome"],
                    "code": scores["code"],
                }
            )
        offset += group.problems.num_rows
    columns: Columns = {
        name: pa.chunked_array([chunk for part in parts for chunk in part[name].chunks])
        if name in ("text", "outcome", "code")
        else np.concatenate([part[name] for part in parts])
        for name in parts[0]
    }
    order = pa.array(ORDER)
    columns["rank"] = pc.index_in(columns["outcome"], order).to_numpy()
    return columns


def _picked(rows: Columns, problems: pa.Table, selections: pa.Table) -> NDArray[np.int64]:
    """For each row the rules that picked it, one bit a rule, [rows]."""
    marks = np.zeros(len(rows["problem"]), dtype=np.int64)
    width = int(rows["sample"].max()) + 1
    place = {
        key: row for row, key in enumerate((rows["problem"] * width + rows["sample"]).tolist())
    }
    of_problem = problem_rows(problems, selections["problem_id"])
    keys = of_problem.to_numpy() * width + selections["sample_index"].to_numpy()
    rules = _unique(selections["rule"])
    for key, rule in zip(keys.tolist(), selections["rule"].to_pylist(), strict=True):
        marks[place[key]] |= 1 << rules.index(rule)
    return marks


def _before(rows: Columns, scores: pa.Table) -> tuple[pa.ChunkedArray, NDArray[np.int64]]:
    """The code that each row had before, and what changed, as a place in `DIRECTIONS`.

    The scores are in the order of the rows.
    """
    was, is_ = scores["reward"].to_numpy() == 1, rows["reward"] == 1
    same_reward = scores["reward"].to_numpy() == rows["reward"]
    same_code = np.asarray(pc.equal(scores["code"], rows["code"]))
    same_outcome = np.asarray(pc.equal(scores["outcome"], rows["outcome"]))
    change = np.where(same_reward & same_code & same_outcome, 0, 3)
    change[~was & is_] = 1
    change[was & ~is_] = 2
    return scores["code"], change


def _kept(
    rows: Columns,
    prompts: pa.ChunkedArray,
    groups: NDArray[np.int64],
    cap: int,
    characters: int,
) -> NDArray[np.int64]:
    """Which rows are kept, failures first and otherwise in their own order, [kept]."""
    problem, rank = rows["problem"], rows["rank"]
    lengths = np.minimum(pc.utf8_length(rows["text"]).to_numpy(), LONGEST_TEXT)
    count = np.bincount(problem, minlength=len(groups))
    right = np.bincount(problem, rank == ORDER.index("correct"), minlength=len(groups))
    size = np.bincount(problem, lengths, minlength=len(groups))
    asked = np.minimum(pc.utf8_length(prompts).to_numpy(), LONGEST_TEXT)
    size += asked
    worst_first = np.lexsort((right / np.maximum(count, 1), groups))
    fits = (count[worst_first].cumsum() <= cap) & (size[worst_first].cumsum() <= characters)
    kept = worst_first[fits]
    wanted = np.zeros(len(groups), dtype=bool)
    wanted[kept] = True
    if not count[kept].sum():
        failures_first = np.lexsort((np.arange(len(rank)), rank))
        fits = (np.arange(1, len(rank) + 1) <= cap) & (
            (lengths + asked[problem])[failures_first].cumsum() <= characters
        )
        return np.asarray(failures_first[fits])
    chosen = np.nonzero(wanted[problem])[0]
    return np.asarray(chosen[np.lexsort((chosen, rank[chosen]))])


def shown_text(text: str) -> str:
    """A text with the invisible made visible, cut where it is longer than anyone reads."""
    over = len(text) - LONGEST_TEXT
    return visible(text) if over <= 0 else f"{visible(text[:LONGEST_TEXT])} … ({over} more)"


def _dictionary(
    column: pa.ChunkedArray, chosen: NDArray[np.int64] | None
) -> tuple[list[str], list[int | None]]:
    """The different values in order of appearance, and the place of each row's in them."""
    taken = (column if chosen is None else column.take(pa.array(chosen))).combine_chunks()
    encoded = taken.dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_pylist()


def _numbers(values: NDArray[np.float64], digits: int) -> list[float | int | None]:
    """Rounded numbers, whole ones as integers, unknown ones as None."""
    rounded = np.round(values.astype(np.float64), digits).tolist()
    return [None if v != v else int(v) if v == int(v) else v for v in rounded]


def _unique(column: pa.ChunkedArray) -> list[str]:
    return list(dict.fromkeys(column.to_pylist()))
