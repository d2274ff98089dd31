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

from policy.attention.packing import PrefixKeys, completion_mask, pack
from policy.attention.prefix_tree import Tokens
from policy.attention.support import UnsupportedAttentionError, unsupported_reason
from policy.attention.tree_attention import NAME, PREFIX, attending_as
from policy.logprobs.plain import plain_logprobs
from policy.logprobs.token_head import token_logprobs

PROBE_TOLERANCE = 1e-3  # nats; rounding in float32 is a hundred times smaller
MOST_KEPT = 2  # common prefixes; a template gives one or two


class KeptPrefixes:
    """What a model that never changes computed for common prefixes: the keys of the last ones.

    A prefix is computed in a pass of its own, so its numbers do not depend on what was asked
    before. That keeps a resumed run the same byte for byte.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[int, ...], PrefixKeys] = {}

    @torch.no_grad()
    def of(self, model: PreTrainedModel, tokens: Tensor) -> PrefixKeys:
        """The keys of this prefix [S], computed unless they are kept."""
        name = tuple(tokens.tolist())
        found = self._kept.pop(name, None)
        if found is None:
            anything: Any = model
            found = PrefixKeys()
            positions = torch.arange(len(tokens), device=tokens.device)
            with attending_as(model, PREFIX):
                anything.base_model(
                    input_ids=tokens[None],
                    position_ids=positions[None],
                    use_cache=False,
                    prefix=found,
                )
        self._kept[name] = found  # the one that was used last is the last to go
        for oldest in list(self._kept)[:-MOST_KEPT]:
            del self._kept[oldest]
        return found


def shared_logprobs(
    model: PreTrainedModel,
    prompts: Sequence[Tokens],
    completions: Sequence[Tokens],
    temperature: float = 1.0,
    kept: KeptPrefixes | None = None,
) -> Tensor:
    """Token log-probabilities [B·N, T] in nats of the completions of B prompts, row-major.

    Zero where `completion_mask` is false. Differentiable. With `kept`, for a model whose weights
    never change, the common prefix of several prompts is computed once for all calls. Raises
    UnsupportedAttentionError for a model, or a length, that packed rows cannot serve.
    """
    anything: Any = model
    head = anything.get_output_embeddings()
    if type(head) is not nn.Linear:
        raise UnsupportedAttentionError(f"its output layer is {type(head).__name__}")
    packed = pack(prompts, completions, model.device)
    common = packed.tree.common_prefix
    if kept is not None and common and len(prompts) > 1:
        packed = packed.after(kept.of(model, packed.tokens[:common]))
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
