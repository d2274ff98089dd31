"""Log-probabilities of completions, by the fast path where a model allows it.

It chooses between `policy.shared_logprobs` and `policy.plain_logprobs`; the numbers are the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch import Tensor
from transformers import PreTrainedModel

from policy.branching import Tokens
from policy.packing import header_length
from policy.plain_logprobs import plain_logprobs
from policy.precision import computing
from policy.shared_logprobs import shared_logprobs, why_not_shared
from policy.tree_attention import UnservedError

logger = logging.getLogger(__name__)


class CompletionLogprobs:
    """The log-probabilities of completions under models of one architecture.

    What packed rows cannot serve takes the plain path, which is several times slower, and the
    reason is logged once.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._unserved = why_not_shared(model)
        self._told = False
        self.shares = not self._unserved
        if self._unserved:
            self._tell(self._unserved)

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
                    self._tell(str(error))
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

    def _tell(self, reason: str) -> None:
        if not self._told:
            logger.warning("one row per completion, without shared prefixes: %s", reason)
        self._told = True
