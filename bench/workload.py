"""What both sides of a comparison are given: the model, the problems, the prompts, the limits.

The environment that TRL runs in imports it too, so it needs only what
sampling and scoring need.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from artifacts.datasets.arithmetic import arithmetic
from policy.model.load import Policy, decode_completion, load_policy
from policy.model.template import get_template
from schemas.config import Precision, SamplingSettings
from schemas.finish_reasons import LENGTH, STOP
from scorers.final_int import FINAL_INT_1

TEMPLATE = "few_shot_chat@1"
KL_WEIGHT = 0.02
LEARNING_RATE = 1e-5

Problem = dict[str, Any]


def problems(count: int, first: int = 0) -> list[Problem]:
    """Problems `first`, … of the training split of the built-in dataset, round and round."""
    rows: list[Problem] = arithmetic("train").to_pylist()
    return [rows[(first + index) % len(rows)] for index in range(count)]


def precision_on(device: str) -> Precision:
    """In what both sides of a comparison compute on a device: on a CPU in float32."""
    return "float32" if device == "cpu" else "auto"


def load(folder: str, device: str, precision: Precision | None = None) -> Policy:
    """The policy with float32 weights on this device, whose products are in this precision."""
    precision = precision or precision_on(device)
    return load_policy(Path(folder), name="default", device=device, precision=precision)


def prompts(policy: Policy, asked: Sequence[Problem]) -> list[list[int]]:
    """The two-shot chat prompts of the problems as token ids."""
    return get_template(TEMPLATE).encode([row["prompt"] for row in asked], policy.tokenizer)


def settings(new_tokens: int) -> SamplingSettings:
    """Temperature 1, nothing cut."""
    return SamplingSettings(max_new_tokens=new_tokens)


def rewards(
    tokenizer: Any,
    end_token_ids: Sequence[int],
    expected: Sequence[str],
    completions: Sequence[Sequence[int]],
) -> list[float]:
    """The strict rewards of completions given as token ids, one expected answer each."""
    texts = [decode_completion(tokenizer, ids, end_token_ids) for ids in completions]
    reasons = [STOP if ids[-1] in end_token_ids else LENGTH for ids in completions]
    verdicts = FINAL_INT_1.score(pa.array(texts), pa.array(reasons), pa.array(expected))
    found: list[float] = verdicts["reward"].to_pylist()
    return found


def wait_for(device: str) -> None:
    """Return when a GPU has done what it was told; a CPU has by then."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def forget_peak(device: str) -> None:
    """Count a GPU's peak memory from here on."""
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def device_memory(device: str) -> dict[str, int]:
    """The peak of a GPU's memory, where there is one."""
    if device != "cuda":
        return {}
    import torch

    return {"peak_device_memory_bytes": torch.cuda.max_memory_allocated()}
