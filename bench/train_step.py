"""Seconds of one whole learning step of ours: sample, score, reference, gradient, update.

Left out: loading the two models, and the first step, whose memory is new to the process (its time
is in the record). Prefect, tables and MLflow are not in it either; `bench.orchestration` measures
them.
"""

from __future__ import annotations

import time

import numpy as np

from bench import matmul
from bench.arithmetic_work import COUNTS, Count, forward_pass, step_operations
from bench.process import Record, answer
from bench.workload import (
    KL_WEIGHT,
    LEARNING_RATE,
    device_memory,
    load,
    problems,
    prompts,
    rewards,
    settings,
    wait_for,
)
from policy.learning.learner import Learner
from policy.model.precision import arithmetic_of, largest_rounding_gap, precision_of
from policy.sampling.sample import sample
from schemas.config import LearningSettings, Precision


def measure(
    folder: str,
    problem_count: int,
    samples: int,
    new_tokens: int,
    seed: int,
    steps: int = 4,
    device: str = "cpu",
    precision: Precision | None = None,
) -> Record:
    """The median seconds of the steps after the first, each on problems of its own."""
    policy, reference = (load(folder, device, precision) for _ in range(2))
    learning = LearningSettings(
        kl_weight=KL_WEIGHT, learning_rate=LEARNING_RATE, schedule="constant"
    )
    learner = Learner(policy, reference.model, learning, steps)
    seconds, sampling_seconds, earned, gaps = [], [], [], []
    operations: dict[Count, list[float]] = {count: [] for count in COUNTS}
    for step in range(steps):
        rows = problems(problem_count, first=step * problem_count)
        asked = prompts(policy, rows)
        started = time.perf_counter()
        drawn = sample(
            policy, asked, samples=samples, settings=settings(new_tokens), seed=seed + step
        )
        sampled = time.perf_counter()
        expected = [row["expected_answer"] for row in rows for _ in range(samples)]
        scores = rewards(policy.tokenizer, policy.end_token_ids, expected, drawn.token_ids)
        metrics = learner.step(
            asked,
            drawn.token_ids,
            drawn.logprobs,
            np.array(scores).reshape(problem_count, samples),
        )
        wait_for(device)
        seconds.append(time.perf_counter() - started)
        sampling_seconds.append(sampled - started)
        for count in COUNTS:
            work = forward_pass(asked, drawn.token_ids, count)
            operations[count].append(step_operations(policy.model, work, work))
        gaps.append(metrics.sampling_gap_nats)
        earned.append(sum(scores) / len(scores))
    memory = device_memory(device)  # before the products of the peak
    used = precision_of(arithmetic_of(policy.model).dtype)
    peak = matmul.measure(device=device, precision=used)["peak_operations_per_second"]
    record: Record = {
        "seconds": seconds,
        "sampling_seconds": sampling_seconds,
        "seconds_per_step": float(np.median(seconds[1:])),
        "peak_operations_per_second": peak,
        "reward_mean": earned,
        "sampling_gap_nats": gaps,
        "largest_gap_nats": largest_rounding_gap(arithmetic_of(policy.model).dtype),
        **memory,
    }
    for count, needed in operations.items():
        rates = [work / spent for work, spent in zip(needed[1:], seconds[1:], strict=True)]
        record[f"operations_{count}"] = needed
        record[f"operations_per_second_{count}"] = float(np.median(rates))
        record[f"fraction_of_peak_{count}"] = float(np.median(rates)) / peak
    return record


if __name__ == "__main__":
    answer(measure)
