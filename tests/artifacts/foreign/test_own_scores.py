"""What is read of a real log gives that program's own score again on every row, then ours."""

from __future__ import annotations

import json
import re
import string
from collections import Counter

import pyarrow as pa
import pytest

from scorers.registry import get_scorer
from tests.artifacts.foreign.samples import FOLDER, LM_EVAL, SAMPLES, asked, expected_of, read

ROWS = {"inspect": 24, "lm-eval": 36, "trl": 48, "openai-batch": 24, "verifiers": 24}


@pytest.mark.parametrize("name", SAMPLES)
def test_every_row_is_read_and_every_problem_is_answered_equally_often(name: str) -> None:
    log = read(SAMPLES[name])
    assert log.format == name
    assert len(log.answers) == ROWS[name]
    rows = Counter(expected for _, expected in expected_of(log))
    per_problem = ROWS[name] // 12
    wanted = Counter(asked()["expected_answer"].to_pylist())
    assert rows == {answer: times * per_problem for answer, times in wanted.items()}


def test_inspect_match_and_exact() -> None:
    """`match`: the answer ends with the target, but for spaces and punctuation; `exact`: equals."""
    pairs = expected_of(read(SAMPLES["inspect"]))
    own = Counter[tuple[str, float]]()
    for answer, expected in pairs:
        text = str(answer.text).strip().rstrip(string.punctuation)
        assert answer.own_scores["match"] == text.endswith(expected), answer.where
        assert answer.own_scores["exact"] == (answer.text == expected), answer.where
        own.update((name, value) for name, value in answer.own_scores.items())
    assert own == {("match", 1.0): 19, ("match", 0.0): 5, ("exact", 1.0): 5, ("exact", 0.0): 19}


@pytest.mark.parametrize(
    ("filter_name", "pattern"),
    [("strict-match", "^Final: (-?[0-9]+)$"), ("flexible-extract", "(-?[0-9]+)")],
)
def test_lm_eval_exact_match_of_the_first_answer_after_its_filter(
    filter_name: str, pattern: str
) -> None:
    scored = [pair for pair in expected_of(read(LM_EVAL)) if pair[0].own_scores]
    assert len(scored) == 12, "a document has one score, whichever answer earned it"
    values: list[float] = []
    for answer, expected in scored:
        found = re.findall(pattern, str(answer.text))
        values.append(answer.own_scores[f"exact_match,{filter_name}"])
        assert values[-1] == (bool(found) and found[0] == expected), answer.where
    assert 0 < sum(values) < 12
    (results,) = LM_EVAL.parent.glob("results_*.json")
    total = json.loads(results.read_text())["results"]["sums"][f"exact_match,{filter_name}"]
    assert sum(values) / 12 == pytest.approx(total)


def test_trl_rewards() -> None:
    """The reward function of the sample: 1 for the right last number, 0.1 for any number."""
    seen = Counter[float]()
    for answer, expected in expected_of(read(SAMPLES["trl"])):
        numbers = re.findall(r"-?[0-9]+", str(answer.text))
        right = bool(numbers) and int(numbers[-1]) == int(expected)
        reward = 1.0 if right else 0.1 if numbers else 0.0
        assert answer.own_scores == {"ends_right": pytest.approx(reward)}, answer.where
        seen[reward] += 1
    assert seen == {0.0: 10, 0.1: 37, 1.0: 1}


def test_verifiers_reward() -> None:
    values: list[float] = []
    for answer, expected in expected_of(read(SAMPLES["verifiers"])):
        numbers = re.findall(r"-?[0-9]+", str(answer.text))
        assert answer.own_scores == {"reward": float(numbers[-1:] == [expected])}, answer.where
        values += answer.own_scores.values()
    assert sum(values) == 12


@pytest.mark.parametrize(
    ("name", "correct", "truncated"),
    [
        ("inspect", 5, 5),
        ("lm-eval", 1, 0),
        ("trl", 0, 0),
        ("openai-batch", 8, 6),
        ("verifiers", 6, 6),
    ],
)
def test_ours_judges_the_same_rows(name: str, correct: int, truncated: int) -> None:
    pairs = expected_of(read(SAMPLES[name]))
    texts, finishes, expected = zip(
        *((one.text, one.finish_reason or "stop", wanted) for one, wanted in pairs), strict=True
    )
    scored = get_scorer("final_int@1").score(
        *(pa.chunked_array([list(column)]) for column in (texts, finishes, expected))
    )
    outcomes = Counter(scored["outcome"].to_pylist())
    assert (outcomes["correct"], outcomes["truncated"]) == (correct, truncated)
    by_hand = sum(
        text == f"Final: {wanted}" and finish == "stop"
        for text, finish, wanted in zip(texts, finishes, expected, strict=True)
    )
    assert by_hand == correct


def test_each_log_says_who_made_it() -> None:
    told = {name: read(path).described() for name, path in SAMPLES.items()}
    assert {name: (one.tool, one.version, one.model) for name, one in told.items()} == {
        "inspect": ("inspect_ai", "0.3.285", "mockllm/model"),
        "lm-eval": ("lm-eval", "0.4.13", "/tmp/lme/tiny"),
        "trl": ("trl", "", ""),
        "openai-batch": ("", "", "gpt-4o-mini-2024-07-18"),
        "verifiers": ("verifiers", "0.1.14", "on-this-machine"),
    }
    assert {name: (one.finish_unknown, one.with_logprobs) for name, one in told.items()} == {
        "inspect": (0, 24),
        "lm-eval": (36, 0),
        "trl": (48, 0),
        "openai-batch": (0, 24),
        "verifiers": (0, 0),
    }


def test_log_probabilities_are_those_of_the_file() -> None:
    first = read(SAMPLES["inspect"]).answers[0]
    assert (first.logprobs, first.sum_logprob, first.tokens) == ((-0.25, -0.5), -0.75, 2)
    row = json.loads(SAMPLES["openai-batch"].read_text().splitlines()[0])
    content = row["response"]["body"]["choices"][0]["logprobs"]["content"]
    answer = read(SAMPLES["openai-batch"]).answers[0]
    assert answer.logprobs == tuple(token["logprob"] for token in content)


def test_the_batch_that_vllm_answered_is_read_row_by_row() -> None:
    path = FOLDER / "vllm-batch.jsonl"
    log = read(path)
    assert (log.format, len(log.answers)) == ("openai-batch", 24)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    choices = [
        (row["custom_id"], one) for row in rows for one in row["response"]["body"]["choices"]
    ]
    for answer, (identity, choice) in zip(log.answers, choices, strict=True):
        assert answer.ids == (identity,)
        assert answer.text == choice["message"]["content"]
        assert answer.finish_reason == choice["finish_reason"]
        told = [token["logprob"] for token in choice["logprobs"]["content"]]
        assert answer.sum_logprob == pytest.approx(sum(told))
    pairs = expected_of(log)
    columns = zip(*((one.text, one.finish_reason, wanted) for one, wanted in pairs), strict=True)
    scored = get_scorer("final_int@1").score(*(pa.chunked_array([list(c)]) for c in columns))
    by_hand = [one.text == f"Final: {wanted}" for one, wanted in pairs]
    assert scored["reward"].to_pylist() == [float(right) for right in by_hand]
    assert 0 < sum(by_hand) < 24
