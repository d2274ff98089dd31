"""Learning from completions that an earlier policy of the run sampled.

The weights of the last few policies stay at hand: completions are checked against the very policy
that is said to have sampled them, and only then weighted by `objective.importance_weights`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policy.learning.step_batch import StepBatch
from policy.model.precision import largest_rounding_gap, rounding_gap_of
from schemas.config import LossReduction
from schemas.errors import InputError


@dataclass(frozen=True)
class OffPolicy:
    """How many steps old a policy that samples may be, and what its weights are truncated at."""

    max_steps: int
    cap: float


@dataclass(frozen=True)
class Served:
    """Completions that a server sampled: from the policy after which step, computed in what."""

    step: int
    dtype: str = ""


def largest_gap(dtype: torch.dtype, served: Served | None) -> float:
    """What rounding explains, here or where a server computes in fewer bits; nats a token."""
    here = largest_rounding_gap(dtype)
    return here if served is None else max(here, rounding_gap_of(served.dtype))


class RecentWeights:
    """What the parameters that learn were after each of the last steps, step 0 being the start."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], off_policy: OffPolicy) -> None:
        self._parameters = parameters
        self._kept = off_policy.max_steps + 1
        self._held: dict[int, dict[str, Tensor]] = {}

    def note(self, step: int) -> None:
        """Keep what the parameters are now, after this step; the oldest are let go."""
        self._held[step] = {
            name: value.detach().clone() for name, value in self._parameters.items()
        }
        for old in [held for held in self._held if held <= step - self._kept]:
            del self._held[old]

    def of(self, step: int) -> Mapping[str, Tensor]:
        """The weights after a step; InputError where they were let go, or are yet to come."""
        if step not in self._held:
            known = ", ".join(map(str, sorted(self._held)))
            raise InputError(
                f"the weights after step {step} are not kept, only those after {known}",
                "--max-off-policy-steps",
                "sample with a policy that is not as old",
            )
        return self._held[step]

    @contextmanager
    def standing_in(self, step: int) -> Iterator[None]:
        """Within the block, the model has the weights of this step; not for a gradient."""
        earlier = self.of(step)
        now = {name: value.detach().clone() for name, value in self._parameters.items()}
        self._copy(earlier)
        try:
            yield
        finally:
            self._copy(now)

    def state(self) -> dict[str, Tensor]:
        """All that is kept, by its name in a checkpoint."""
        return {
            f"{step}/{name}": value
            for step, held in self._held.items()
            for name, value in held.items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Be where `state` was; InputError unless it is of these parameters."""
        held: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            step, _, name = key.partition("/")
            held.setdefault(int(step), {})[name] = value
        if not held or any(one.keys() != self._parameters.keys() for one in held.values()):
            raise InputError("the checkpoint does not hold the weights of the steps before it")
        self._held = {
            step: {name: one[name].to(value.device) for name, value in self._parameters.items()}
            for step, one in held.items()
        }

    def _copy(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self._parameters.items():
                value.copy_(weights[name])


def truncated_share(logprobs: Tensor, batch: StepBatch, cap: float, grain: LossReduction) -> float:
    """The share of completions, or of tokens, whose ratio was above the cap."""
    assert batch.sampled is not None
    ratios = (logprobs - batch.sampled).masked_fill(~batch.mask, 0.0).double()
    seen = ratios.sum(dim=-1).flatten() if grain == "sequence" else ratios[batch.mask]
    return (seen.exp() > cap).double().mean().item()
