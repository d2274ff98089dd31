"""What is said of completions that another program made, and of answers that are not all there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from schemas.config import MOST, EvalConfig
from schemas.frozen import Frozen


class Part(Frozen):
    """Which part of stored completions is measured.

    The first `limit` problems and of each the first `samples` answers, None for all. With
    `allow_missing`, problems that have none, or fewer, are left out and counted.
    """

    limit: Annotated[int | None, Field(ge=1, le=MOST)] = None
    samples: Annotated[int | None, Field(ge=1, le=MOST)] = None
    allow_missing: bool = False

    @classmethod
    def of(cls, config: EvalConfig) -> Part:
        """What a replay was told; without a given number of samples, all that are stored."""
        samples = config.samples if "samples" in config.model_fields_set else None
        return cls(limit=config.limit, samples=samples, allow_missing=config.allow_missing)


class OwnScore(Frozen):
    """The mean of a score that the other program gave itself, over the rows that it scored."""

    mean: float
    rows: int


class ImportedFrom(Frozen):
    """Where completions came from, as their file says it.

    - `format`: inspect, lm-eval, trl, openai-batch, verifiers or jsonl.
    - `tool` and `version`: the program that made them; empty where the file does not say it.
    - `model`: what that program called the model; empty in the same way.
    - `answers`: how many answers the file holds, and `own_scores` what that program said of them.
    - `finish_unknown`: answers without a finish reason, which were taken as ended by the model.
    - `with_logprobs`: answers that came with the log-probabilities of their tokens.
    - `failed`: requests that the file says brought no answer.
    """

    format: str
    tool: str = ""
    version: str = ""
    model: str = ""
    answers: int
    own_scores: Mapping[str, OwnScore] = {}
    finish_unknown: int = 0
    with_logprobs: int = 0
    failed: int = 0


class PartialAnswers(Frozen):
    """What was missing when `--allow-missing` let it pass.

    Of `asked` problems, `without_answer` have none. `with_fewer` have fewer than the others: with
    `--samples` those are left out too, otherwise each problem counts with as many answers as the
    one with the fewest has. `measured` problems are left with `samples` answers each, and every
    rate is over these; `unused` answers of them are not counted.
    """

    asked: int
    without_answer: int
    with_fewer: int
    measured: int
    samples: int
    unused: int
