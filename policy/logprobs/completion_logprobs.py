"""Log-probabilities of completions, by the fast path where a model allows it, else plainly.

The two paths give the same numbers, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from transformers import PreTrainedModel

from policy.attention.prefix_tree import Tokens, common_prefix_length
from policy.attention.support import UnsupportedAttentionError
from policy.logprobs.plain import plain_logprobs
from policy.logprobs.shared import (
    KeptPrefixes,
    probed_unsupported_reason,
    shared_logprobs,
)
from policy.model.precision import computing
from policy.model.slow_path_warning import warn_slow_path


class CompletionLogprobs:
    """The log-probabilities of completions under models of one architecture.

    What packed rows cannot serve takes the plain path, which is several times slower, with a
    warning. With `plain` all take it.
    """

    def __init__(self, model: PreTrainedModel, *, plain: bool = False) -> None:
        if plain:
            self.shares = False
            return
        reason = probed_unsupported_reason(model)
        self.shares = reason is None
        if reason is not None:
            warn_slow_path(model, reason)

    def __call__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Tokens],
        completions: Sequence[Tokens],
        temperature: float,
        kept: KeptPrefixes | None = None,
    ) -> Tensor:
        """Token log-probabilities [B·N, T] in nats of the completions of B prompts, row-major.

        `kept` are the common prefixes of a model that never changes.
        """
        with computing(model):
            if self.shares:
                try:
                    return shared_logprobs(model, prompts, completions, temperature, kept)
                except UnsupportedAttentionError as error:
                    warn_slow_path(model, str(error))
            return plain_logprobs(model, prompts, completions, temperature)

    def sizes(self, prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[int]:
        """Tokens that each problem adds to a forward pass at most, [B]."""
        samples = len(completions) // len(prompts)
        common = common_prefix_length(prompts)
        sizes = []
        for index, prompt in enumerate(prompts):
            own = completions[index * samples : (index + 1) * samples]
            if self.shares:
                sizes.append(len(prompt) - common + sum(len(completion) - 1 for completion in own))
            else:
                sizes.append(samples * (len(prompt) + max(map(len, own))))
        return sizes
