"""Completions by a policy in this process's memory."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from policy.model.load import Policy, decode_completion
from policy.model.template import get_template
from policy.sampling.sample import Samples, sample
from schemas.config import GenerationSettings


def complete(
    policy: Policy,
    problems: pa.Table,
    settings: GenerationSettings,
    *,
    seed: int,
    on_progress: Callable[[int], None],
    within: tuple[int, int] | None = None,
    processes: int = 1,
) -> pa.Table:
    """The completions table of these problems, problem by problem, sampled from one seed.

    `within` says which rows of a larger table they are, and `processes` how many share the memory
    (see `policy.sampling.sample`).
    """
    prompts = get_template(settings.template).encode(
        problems["prompt"].to_pylist(), policy.tokenizer
    )
    samples = sample(
        policy,
        prompts,
        samples=settings.samples,
        settings=settings.sampling,
        seed=seed,
        within=within,
        processes=processes,
        on_progress=on_progress,
    )
    return _table(problems["problem_id"].to_pylist(), samples, policy, seed)


def _table(ids: list[str], samples: Samples, policy: Policy, seed: int) -> pa.Table:
    """The rows of one shard: B problems × N samples."""
    n = samples.samples_per_problem
    texts = [
        decode_completion(policy.tokenizer, tokens, policy.end_token_ids)
        for tokens in samples.token_ids
    ]
    rows = len(texts)
    logprobs = samples.logprobs
    return pa.table(
        {
            "problem_id": pa.array([identity for identity in ids for _ in range(n)], pa.string()),
            "sample_index": pa.array([row % n for row in range(rows)], pa.int32()),
            "text": pa.array(texts, pa.string()),
            "finish_reason": pa.array(samples.finish_reasons, pa.string()),
            "token_count": pa.array([len(t) for t in samples.token_ids], pa.int32()),
            "sum_logprob": pa.array([min(0.0, sum(lp)) for lp in logprobs], pa.float64()),
            "shard_seed": pa.array([seed] * rows, pa.int64()),
            "token_ids": pa.array(samples.token_ids, pa.list_(pa.int32())),
            "logprobs": pa.array(logprobs, pa.list_(pa.float32())),
        }
    )
