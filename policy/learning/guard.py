"""When learning must stop: numbers not finite, KL too large, completions of another policy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from policy.learning.step_metrics import StepMetrics
from policy.sampling.categorical import NonFiniteLogitsError
from schemas.errors import StoppedError


class NonFiniteError(StoppedError):
    """A loss, divergence, gradient or logit is not a finite number."""

    remedy = "start again with a lower --learning-rate"


class KlLimitError(StoppedError):
    """The policy is further from its reference than was allowed."""

    remedy = "start again with a lower --learning-rate, a higher --kl-weight or a higher --max-kl"


class StaleSamplesError(StoppedError):
    """The completions of a step were sampled from another policy than the one it would update."""

    remedy = "start again in an empty THREELOOPS_HOME, and report it: no setting should do this"


def refuse_bad_update(
    metrics: StepMetrics, *, max_kl_nats: float | None = None, max_gap_nats: float = math.inf
) -> None:
    """Raise a StoppedError unless the step of these metrics may update the weights.

    `max_kl_nats` limits the mean log-ratio to the reference, in nats a completion, which is what
    the training table shows. Loss and KL are those of the policy that the step before left, so that
    step is at fault for them. A gradient can overflow under a sound policy.

    `max_gap_nats` limits the mean difference between the sampler's log-probabilities and the
    learner's, in nats a token. Above it the gradient would be wrong: it is unbiased only for
    completions of the policy that is updated.
    """
    step, kl_nats, gap = metrics.step, metrics.kl_nats, metrics.sampling_gap_nats
    if not (math.isfinite(metrics.loss) and math.isfinite(kl_nats)):
        raise NonFiniteError(
            step,
            f"loss {metrics.loss:.4g} and KL {kl_nats:.4g} of its completions are not finite",
            max(step - 2, 0),
        )
    if max_kl_nats is not None and kl_nats > max_kl_nats:
        raise KlLimitError(
            step, _too_far("its completions", kl_nats, max_kl_nats), max(step - 2, 0)
        )
    if gap is not None and gap > max_gap_nats:
        raise StaleSamplesError(
            step,
            "its completions were not sampled from the policy that it would update: their "
            f"log-probabilities differ by {gap:.2g} nats a token",
            step - 1,
        )
    if not math.isfinite(metrics.gradient_norm):
        raise NonFiniteError(
            step,
            f"loss {metrics.loss:.4g}, gradient norm {metrics.gradient_norm:.4g} is not finite",
            step - 1,
        )


def refuse_bad_end(steps: int, *, kl_nats: float, max_kl_nats: float | None) -> None:
    """Raise KlLimitError if the policy after the last step is too far from its start.

    No later step can see that, so `kl_nats` is from the measurement after learning.
    """
    if max_kl_nats is not None and not kl_nats <= max_kl_nats:
        reason = _too_far("the problems measured after it", kl_nats, max_kl_nats)
        raise KlLimitError(steps, reason, steps - 1)


@contextmanager
def attribute_to_step(step: int) -> Iterator[None]:
    """Turn logits that are not finite into the error of the step whose update caused them.

    Before the first step the cause is the model itself, and the error stays as it is.
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
