"""The tables that `bench.rescore` scores: made-up completions of the kinds that a model gives."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from artifacts.store.data_dir import current_data_dir
from artifacts.store.tables import Store
from bench.process import Record, answer
from schemas.finish_reasons import LENGTH, STOP

SAMPLES = 8
# what follows `answer` in a share of the rows: right, wrong, and five ways of breaking the format
KINDS = (
    (0.40, "Final: {right}"),
    (0.30, "Final: {wrong}"),
    (0.08, "Final: {right}."),
    (0.06, " Final: {right}"),
    (0.06, "final: {right}"),
    (0.05, "{right}"),
    (0.05, "The answer is {right}, because that is what the numbers add up to.\nFinal: {right}"),
)
CUT_OFF = 0.03


def measure(rows: int, seed: int = 0) -> Record:
    """Write `rows` completions of `rows` / 8 problems, with token ids and log-probabilities."""
    generator = np.random.default_rng(seed)
    count = rows // SAMPLES
    expected = generator.integers(-999, 9999, count)
    ids = [f"problem-{index:07d}" for index in range(count)]
    problems = pa.table(
        {
            "problem_id": pa.array(ids, pa.string()),
            "prompt": pa.array([f"What is {value} + 0?" for value in expected], pa.string()),
            "expected_answer": pa.array(map(str, expected), pa.string()),
            "family": pa.array(["addition"] * count, pa.string()),
            "split": pa.array(["train"] * count, pa.string()),
        }
    )
    rows = count * SAMPLES
    kinds = generator.choice(len(KINDS), rows, p=[share for share, _ in KINDS])
    right = np.repeat(expected, SAMPLES)
    wrong = right + generator.integers(1, 50, rows)
    texts = [
        KINDS[kind][1].format(right=good, wrong=bad)
        for kind, good, bad in zip(kinds, right, wrong, strict=True)
    ]
    tokens = 7
    offsets = pa.array(np.arange(0, (rows + 1) * tokens, tokens), pa.int32())
    logprobs = -generator.random(rows * tokens)
    completions = pa.table(
        {
            "problem_id": pa.array(np.repeat(ids, SAMPLES), pa.string()),
            "sample_index": pa.array(np.tile(np.arange(SAMPLES), count), pa.int32()),
            "text": pa.array(texts, pa.string()),
            "finish_reason": pa.array(
                np.where(generator.random(rows) < CUT_OFF, LENGTH, STOP), pa.string()
            ),
            "token_count": pa.array(np.full(rows, tokens), pa.int32()),
            "sum_logprob": pa.array(logprobs.reshape(rows, tokens).sum(axis=1), pa.float64()),
            "shard_seed": pa.array(np.full(rows, seed), pa.int64()),
            "token_ids": pa.ListArray.from_arrays(
                offsets, pa.array(generator.integers(0, 49152, rows * tokens), pa.int32())
            ),
            "logprobs": pa.ListArray.from_arrays(offsets, pa.array(logprobs, pa.float32())),
        }
    )
    store = Store(current_data_dir())
    return {
        "problems": store.write("problems", problems, producer="bench").model_dump(),
        "completions": store.write("completions", completions, producer="bench").model_dump(),
    }


if __name__ == "__main__":
    answer(measure)
