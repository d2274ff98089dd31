"""What could run, but would learn nothing or something else, is refused before it does."""

from __future__ import annotations

from typing import Any, cast

import torch
from transformers import PreTrainedModel

from policy.model.adapter import is_adapted
from schemas.config import LearningSettings
from schemas.errors import InputError


def check_can_learn(
    model: PreTrainedModel,
    reference_model: PreTrainedModel | None,
    settings: LearningSettings,
    temperature: float,
) -> None:
    """Raise InputError for what could run but would learn nothing, or learn something else."""
    if reference_model is None and not is_adapted(model):
        raise InputError("a policy without an adapter needs a reference model of its own")
    if reference_model is model:
        raise InputError(
            "the reference is the policy itself, so their divergence would always be 0",
            remedy="load the reference as a second copy",
        )
    both = (model, reference_model or model)
    sizes = [len(cast(Any, one.get_input_embeddings()).weight) for one in both]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"the policy has {sizes[0]} tokens and its reference {sizes[1]}, so no divergence "
            "between them can be computed",
            remedy="take the reference from the model that the policy was started from",
        )
    penalty = (settings.kl_estimator, settings.kl_placement)
    if settings.kl_weight > 0 and penalty == ("k1", "loss"):
        raise InputError(
            "k1 as a loss has an expected gradient of zero: it would only add noise",
            where="kl_placement",
            remedy="put k1 in the reward, or use k2 as a loss",
        )
    if temperature <= 0:
        raise InputError(
            f"cannot learn from completions sampled at temperature {temperature}",
            where="temperature",
            remedy="sample at a temperature above 0",
        )
    if model.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"weights in {model.dtype} are too coarse for small updates, which would round to zero",
            remedy="load the policy in float32",
        )
