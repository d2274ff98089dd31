"""What a report's page carries for its script, as page/start.js reads it."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class PageProblems(TypedDict):
    """The problems of a page: one value for each; `family` is a place in `families`.

    `group` is a place in what was asked: what was measured, then what was trained on.
    """

    id: list[str]
    prompt: list[str]
    expected: list[str]
    family: list[int | None]
    group: list[int]


class PageRows(TypedDict):
    """What the script of a page reads: one value for each completion in `problem` … `code`.

    Those are numbers: places in `problems`, `stages`, `outcomes`, `texts` and `codes`, and the
    completion's own sample, reward, log-probability (nats) and tokens. `picked` holds one bit for
    each of `rules`, `was` a place in `was_codes`, and `change` one in `directions`. `left_out`
    counts by outcome the completions of all, `total`, that are not in the page.
    """

    problems: PageProblems
    families: list[str]
    outcomes: list[str]
    texts: list[str]
    codes: list[str]
    problem: list[int]
    stage: list[int]
    sample: list[int]
    outcome: list[int]
    reward: list[float | int | None]
    logprob: list[float | int | None]
    tokens: list[float | int | None]
    text: list[int | None]
    code: list[int | None]
    picked: NotRequired[list[int]]
    was_codes: NotRequired[list[str]]
    was: NotRequired[list[int | None]]
    directions: NotRequired[list[str]]
    change: NotRequired[list[int]]
    stages: list[str]
    rules: list[str]
    total: int
    left_out: dict[str, int]
