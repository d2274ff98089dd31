"""Log-probabilities of completions from one packed row in which no prefix is computed twice.

This serves decoder-only models with plain softmax attention and a linear head;
`policy.logprobs.plain` serves the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from policy.attention.packing import completion_mask, pack
from policy.attention.prefix_tree import Tokens
from policy.attention.support import UnsupportedAttentionError, unsupported_reason
from policy.attention.tree_attention import NAME, attending_as
from policy.logprobs.plain import plain_logprobs
from policy.logprobs.token_head import token_logprobs

PROBE_TOLERANCE = 1e-3  # nats; rounding in float32 is a hundred times smaller


def shared_logprobs(
    model: PreTrainedModel,
    prompts: Sequence[Tokens],
    completions: Sequence[Tokens],
    temperature: float = 1.0,
) -> Tensor:
    """Token log-probabilities [B·N, T] in nats of the completions of B prompts, row-major.

    Zero where `completion_mask` is false. Differentiable. Raises UnsupportedAttentionError for
    a model, or a length, that packed rows cannot serve.
    """
    anything: Any = model
    head = anything.get_output_embeddings()
    if type(head) is not nn.Linear:
        raise UnsupportedAttentionError(f"its output layer is {type(head).__name__}")
    packed = pack(prompts, completions, model.device)
    with attending_as(model, NAME):
        hidden = anything.base_model(
            input_ids=packed.tokens[None],
            position_ids=packed.positions[None],
            use_cache=False,
            tree=packed.tree,
        ).last_hidden_state[0]
    values = token_logprobs(
        hidden.index_select(0, packed.predicting).to(head.weight.dtype),
        head.weight,
        head.bias,
        packed.rows,
        packed.targets,
        temperature,
    )
    mask = completion_mask(completions, model.device)
    return values.new_zeros(mask.shape).masked_scatter(mask, values)


def probed_unsupported_reason(model: PreTrainedModel) -> str | None:
    """Why packed rows cannot serve this model; None when they can.

    A model is served if it gives the numbers of the plain path on a small example. That also finds
    what no setting declares, such as scaled logits, recurrent layers or biases by distance.
    """
    size = model.config.get_text_config().vocab_size
    tokens = [(7 * index + 3) % size for index in range(16)]
    prompts = [tokens[:4], [*tokens[:2], *tokens[4:7]]]
    completions = [tokens[7:10], tokens[10:11], tokens[11:13], tokens[13:16]]
    if (reason := unsupported_reason(model, total_tokens=0)) is not None:
        return reason
    if getattr(model.config.get_text_config(), "final_logit_softcapping", None):
        return "its logits are capped"
    try:
        with torch.no_grad():
            shared = shared_logprobs(model, prompts, completions)
    except Exception as error:  # a model may raise anything here; the plain path asks less of it
        return str(error).split("\n")[0] or type(error).__name__
    with torch.no_grad():
        plain = plain_logprobs(model, prompts, completions)
    gap = (shared - plain).abs().max().item()
    return None if gap <= PROBE_TOLERANCE else f"the numbers would differ by {gap:.2g} nats"
