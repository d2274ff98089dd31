"""The completions of one batch while they are sampled, token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from policy.sampling.categorical import sample_tokens
from schemas.config import SamplingSettings


class Completions:
    """R completions of at most T tokens, each with its own row of uniforms [R, T]."""

    def __init__(
        self,
        uniforms: Tensor,
        end_token_ids: Sequence[int],
        settings: SamplingSettings,
        on_finished: Callable[[int], None],
    ) -> None:
        rows, self.limit = uniforms.shape
        self.device = uniforms.device
        self._uniforms = uniforms
        self._ends = torch.tensor(end_token_ids, device=self.device)
        self._settings = settings
        self._on_finished = on_finished
        self._tokens = torch.zeros(uniforms.shape, dtype=torch.long, device=self.device)
        self._logprobs = torch.zeros_like(uniforms)
        self._lengths = torch.zeros(rows, dtype=torch.long, device=self.device)

    def sample_step(
        self, logits: Tensor, owner: Tensor, rows: Tensor, step: int
    ) -> tuple[Tensor, Tensor]:
        """Sample token `step` of these rows, row i from the distribution `owner[i]` (ascending).

        Returns the tokens, and true for each row that goes on.
        """
        uniforms = self._uniforms[rows, step]
        tokens, logprobs = sample_tokens(logits, owner, uniforms, self._settings)
        self._tokens[rows, step] = tokens
        self._logprobs[rows, step] = logprobs
        self._lengths[rows] = step + 1
        going_on = ~torch.isin(tokens, self._ends) & (step + 1 < self.limit)
        self._on_finished(len(rows) - int(going_on.sum()))
        return tokens, going_on

    def listed(self) -> tuple[list[list[int]], list[list[float]]]:
        """Token ids and log-probabilities of every row, each as long as its completion."""
        lengths = self._lengths.tolist()
        tokens, logprobs = self._tokens.tolist(), self._logprobs.tolist()
        return (
            [row[:length] for row, length in zip(tokens, lengths, strict=True)],
            [row[:length] for row, length in zip(logprobs, lengths, strict=True)],
        )
