"""When learning must stop: numbers not finite, too far from the start, answers of another policy.

It decides from plain numbers; it restores nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from policy.sampling.categorical import NonFiniteLogitsError
from schemas.errors import StoppedError


class NonFiniteError(StoppedError):
    """A loss, divergence, gradient or logit is not a finite number."""

    remedy = "start again with a lower --learning-rate"


class KlLimitError(StoppedError):
    """The policy is further from its reference than was allowed."""

    remedy = "start again with a lower --learning-rate, a higher --kl-weight or a higher --max-kl"


class StaleSamplesError(StoppedError):
    """The completions of a step were drawn from another policy than the one it would update."""

    remedy = "start again in an empty THREELOOPS_HOME, and report it: no setting should do this"


def refuse_bad_update(
    step: int,
    *,
    loss: float,
    gradient_norm: float,
    kl_nats: float,
    max_kl_nats: float | None,
    sampling_gap_nats: float | None = None,
    max_gap_nats: float = math.inf,
) -> None:
    """Raise a StoppedError unless step `step` (from 1) may update the weights.

    `kl_nats` is the mean log-ratio to the reference of the step's completions, in nats a
    completion: what the training table shows. Loss and divergence are those of the policy that the
    step before left, so that policy is what is wrong with them; a gradient can overflow under a
    policy that is sound.

    `sampling_gap_nats` is the mean absolute difference per token between the sampler's
    log-probabilities and the learner's. Above `max_gap_nats` the gradient would be that of no
    policy, for it is unbiased only for completions of the policy that is updated.
    """
    if not (math.isfinite(loss) and math.isfinite(kl_nats)):
        raise NonFiniteError(
            step,
            f"loss {loss:.4g} and KL {kl_nats:.4g} of its completions are not finite",
            max(step - 2, 0),
        )
    if max_kl_nats is not None and kl_nats > max_kl_nats:
        raise KlLimitError(
            step, _too_far("its completions", kl_nats, max_kl_nats), max(step - 2, 0)
        )
    if sampling_gap_nats is not None and sampling_gap_nats > max_gap_nats:
        raise StaleSamplesError(
            step,
            "its completions were not drawn from the policy that it would update: their "
            f"log-probabilities differ by {sampling_gap_nats:.2g} nats a token",
            step - 1,
        )
    if not math.isfinite(gradient_norm):
        raise NonFiniteError(
            step, f"loss {loss:.4g}, gradient norm {gradient_norm:.4g} is not finite", step - 1
        )


def refuse_bad_end(steps: int, *, kl_nats: float, max_kl_nats: float | None) -> None:
    """Raise KlLimitError if the policy that the last step left is too far from its start.

    No later step can see it, so the divergence is that of the measurement after learning.
    """
    if max_kl_nats is not None and not kl_nats <= max_kl_nats:
        reason = _too_far("the problems measured after it", kl_nats, max_kl_nats)
        raise KlLimitError(steps, reason, steps - 1)


@contextmanager
def attribute_to_step(step: int) -> Iterator[None]:
    """Turn logits that nothing can be drawn from into what the update of `step` has done.

    Before the first step the model itself is to blame, and the error stays as it is.
    """
    try:
        yield
    except NonFiniteLogitsError:
        if step == 0:
            raise
        reason = "its update left a policy whose logits are not finite"
        raise NonFiniteError(step, reason, step - 1) from None


def _too_far(where: str, kl_nats: float, max_kl_nats: float) -> str:
    return (
        f"KL to the start on {where} is {kl_nats:.2f} nats a completion, "
        f"above --max-kl {max_kl_nats:g}"
    )
