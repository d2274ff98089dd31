"""Log-probabilities of completions, by the fast path where a model allows it.

It chooses between `policy.logprobs.shared` and `policy.logprobs.plain`; the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from transformers import PreTrainedModel

from policy.attention.packing import header_length
from policy.attention.prefix_tree import Tokens
from policy.attention.tree_attention import UnservedError
from policy.logprobs.plain import plain_logprobs
from policy.logprobs.shared import shared_logprobs, why_not_shared
from policy.model.precision import computing
from policy.model.slow_path_warning import tell_plain


class CompletionLogprobs:
    """The log-probabilities of completions under models of one architecture.

    What packed rows cannot serve takes the plain path, which is several times slower, and says so.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        reason = why_not_shared(model)
        self.shares = not reason
        if reason:
            tell_plain(model, reason)

    def __call__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Tokens],
        completions: Sequence[Tokens],
        temperature: float,
    ) -> Tensor:
        """Token log-probabilities [B·N, T] in nats of the completions of B prompts, row-major."""
        with computing(model):
            if self.shares:
                try:
                    return shared_logprobs(model, prompts, completions, temperature)
                except UnservedError as error:
                    tell_plain(model, str(error))
            return plain_logprobs(model, prompts, completions, temperature)

    def sizes(self, prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[int]:
        """Tokens that each problem adds to a forward pass at most, [B]."""
        samples = len(completions) // len(prompts)
        header = header_length(prompts)
        sizes = []
        for index, prompt in enumerate(prompts):
            own = completions[index * samples : (index + 1) * samples]
            if self.shares:
                sizes.append(len(prompt) - header + sum(len(completion) - 1 for completion in own))
            else:
                sizes.append(samples * (len(prompt) + max(map(len, own))))
        return sizes
