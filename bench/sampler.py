"""Completions a second of our sampler and of `model.generate`, on the same prompts and limits.

`generate` gets everything that makes it fast: all completions in one batch or in batches of
`rows`, `num_return_sequences`, its own cache, inference mode, and a stop as soon as every row has
ended, and the whole model in the type of its matrix products (ours keeps float32 weights, so that
they can learn). Left out: loading the model, encoding prompts, decoding text, and a small warm-up.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from bench import matmul
from bench.arithmetic_work import COUNTS, forward_operations, forward_pass
from bench.process import Record, answer
from bench.workload import device_memory, forget_peak, load, problems, prompts, settings, wait_for
from policy.model.load import Policy
from policy.model.precision import arithmetic_of, precision_of
from policy.sampling.sample import sample
from schemas.config import Precision

WARM_UP = 2  # problems, drawn once before the clock starts


def measure(
    side: str,
    folder: str,
    problem_count: int,
    samples: int,
    new_tokens: int,
    seed: int,
    rows: int = 256,
    repeats: int = 1,
    device: str = "cpu",
    precision: Precision | None = None,
) -> Record:
    """The median seconds of `repeats` draws of `samples` completions for each problem."""
    policy = load(folder, device, precision)
    asked = prompts(policy, problems(problem_count))
    draw = _ours if side == "ours" else _generate
    if side != "ours":
        model: Any = policy.model
        model.to(arithmetic_of(model).dtype)
    draw(policy, asked[:WARM_UP], 2, new_tokens, seed, rows)
    wait_for(device)
    forget_peak(device)
    seconds = []
    for repeat in range(repeats):
        started = time.perf_counter()
        drawn = draw(policy, asked, samples, new_tokens, seed + repeat, rows)
        wait_for(device)
        seconds.append(time.perf_counter() - started)
    completions = problem_count * samples
    middle = sorted(seconds)[len(seconds) // 2]
    record: Record = {
        "seconds": seconds,
        "completions_per_second": completions / middle,
        "tokens": sum(map(len, drawn)),
        "prompt_tokens": len(asked[0]),
        "rows_together": min(rows, completions) if side != "ours" else completions,
        **device_memory(device),
    }
    if side == "ours":
        used = precision_of(arithmetic_of(policy.model).dtype)
        peak = matmul.measure(device=device, precision=used)["peak_operations_per_second"]
        record["peak_operations_per_second"] = peak
        for count in COUNTS:
            work = forward_pass(asked, drawn, count)
            needed = forward_operations(policy.model, work)
            record[f"operations_{count}"] = needed
            record[f"operations_per_second_{count}"] = needed / middle
            record[f"fraction_of_peak_{count}"] = needed / middle / peak
    return record


def _ours(
    policy: Policy, asked: list[list[int]], samples: int, new_tokens: int, seed: int, rows: int
) -> list[list[int]]:
    return sample(
        policy, asked, samples=samples, settings=settings(new_tokens), seed=seed
    ).token_ids


def _generate(
    policy: Policy, asked: list[list[int]], samples: int, new_tokens: int, seed: int, rows: int
) -> list[list[int]]:
    """Left-padded, as `generate` wants it; `rows` completions at a time."""
    model: Any = policy.model
    longest, end = max(map(len, asked)), policy.end_token_ids[-1]
    ids = torch.tensor([[end] * (longest - len(one)) + one for one in asked], device=policy.device)
    mask = torch.tensor(
        [[0] * (longest - len(one)) + [1] * len(one) for one in asked], device=policy.device
    )
    torch.manual_seed(seed)
    together = max(1, rows // samples)
    completions: list[list[int]] = []
    with torch.inference_mode():
        for first in range(0, len(asked), together):
            part = slice(first, first + together)
            drawn = model.generate(
                input_ids=ids[part],
                attention_mask=mask[part],
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                num_return_sequences=samples,
                max_new_tokens=new_tokens,
                eos_token_id=list(policy.end_token_ids),
                pad_token_id=end,
            )
            for row in drawn[:, longest:].tolist():
                ended = [i for i, token in enumerate(row) if token in policy.end_token_ids]
                completions.append(row[: ended[0] + 1] if ended else row)
    return completions


if __name__ == "__main__":
    answer(measure)
