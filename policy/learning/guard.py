"""When learning must stop: numbers not finite, KL too large, completions of another policy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from policy.learning.step_metrics import StepMetrics
from policy.sampling.categorical import NonFiniteLogitsError
from schemas.errors import StoppedError

KL_WINDOW = 5  # steps whose mean KL is held to the limit


@dataclass(frozen=True)
class KlReading:
    """KL to the reference as one step measured it, in nats a completion.

    `error` is the standard error over the step's problems, None where it is not known.
    """

    nats: float
    error: float | None


class NonFiniteError(StoppedError):
    """A loss, divergence, gradient or logit is not a finite number."""

    remedy = "start again with a lower --learning-rate"


class KlLimitError(StoppedError):
    """The policy is further from its reference than was allowed."""

    remedy = "start again with a lower --learning-rate, a higher --kl-weight or a higher --max-kl"


class StaleSamplesError(StoppedError):
    """The completions of a step were sampled from another policy than the one it would update."""

    remedy = "start again in an empty THREELOOPS_HOME, and report it: no setting should do this"


class ServedSamplesError(StaleSamplesError):
    """A server sampled the completions of a step from another policy than it was told to."""

    remedy = (
        "see that the server computes in the precision that it says, in float32 if it says none "
        "(vLLM: --dtype float32), and that nobody else loads adapters there; then start again"
    )


def last_sound(readings: Sequence[KlReading], max_kl_nats: float | None, newest: int) -> int:
    """The newest policy, of those after steps 0 … `newest`, that was read within the limit.

    The policy after step s is read by step s + 1. Both count: that reading, and the mean over its
    window, because either alone lets a policy through that is beyond the limit: the mean lags, and
    one reading is noisy. Without a limit it is `newest`, and where no policy is within it 0, the
    start. A policy that was not read is not known to be within it.
    """
    if max_kl_nats is None:
        return newest
    for policy in range(min(newest, len(readings) - 1), 0, -1):
        mean = _mean(_window(readings[: policy + 1]))
        if max(readings[policy].nats, mean) <= max_kl_nats:
            return policy
    return 0


def refuse_bad_update(
    metrics: StepMetrics,
    *,
    earlier_kl: Sequence[KlReading] = (),
    max_kl_nats: float | None = None,
    max_gap_nats: float = math.inf,
    served: bool = False,
) -> None:
    """Raise a StoppedError unless the step of these metrics may update the weights.

    `max_kl_nats` limits the mean log-ratio to the reference, in nats a completion, over this step
    and the `KL_WINDOW` − 1 before it (fewer at the start): a single step measures KL on few
    completions, and its noise alone would stop a run near its limit. `earlier_kl` are the readings
    of all steps before this one; the first is left out, for the policy is its reference then.

    Loss and KL are those of the policy that the step before left, so that step is at fault for
    them. A gradient can overflow under a sound policy. Whatever the reason, what is named as last
    good is also within the limit on KL (`last_sound`).

    `max_gap_nats` limits the mean difference between the sampler's log-probabilities and the
    learner's, in nats a token. Above it the gradient would be wrong: it is unbiased only for
    completions of the policy that is updated. With `served` it is a server that sampled, and where
    it may do so from an older policy, the gap is to that one.
    """
    step, kl_nats, gap = metrics.step, metrics.kl_nats, metrics.sampling_gap_nats
    readings = [*earlier_kl, KlReading(kl_nats, metrics.kl_error_nats)]
    policy = step - 1  # the one that was read
    if not (math.isfinite(metrics.loss) and math.isfinite(kl_nats)):
        raise NonFiniteError(
            step,
            f"loss {metrics.loss:.4g} and KL {kl_nats:.4g} of its completions are not finite",
            last_sound(readings, max_kl_nats, max(policy - 1, 0)),
        )
    if max_kl_nats is not None:
        window = _window(readings)
        if _mean(window) > max_kl_nats:
            steps = f"the last {len(window)} steps" if len(window) > 1 else "its completions"
            reason = _too_far(steps, _mean(window), max_kl_nats, _error_of_mean(window))
            if len(window) > 1:
                reason += f"; the last of them read {kl_nats:.2f}"
            raise KlLimitError(step, reason, last_sound(readings, max_kl_nats, max(policy - 1, 0)))
    if gap is not None and gap > max_gap_nats:
        stale = ServedSamplesError if served else StaleSamplesError
        age = metrics.off_policy_steps
        meant = f"{age} steps before" if age else "that it would update"
        raise stale(
            step,
            f"its completions were not sampled from the policy {meant}: their "
            f"log-probabilities differ by {gap:.2g} nats a token",
            last_sound(readings, max_kl_nats, policy),
        )
    if not math.isfinite(metrics.gradient_norm):
        raise NonFiniteError(
            step,
            f"loss {metrics.loss:.4g}, gradient norm {metrics.gradient_norm:.4g} is not finite",
            last_sound(readings, max_kl_nats, policy),
        )


def refuse_bad_end(
    readings: Sequence[KlReading], *, kl_nats: float, max_kl_nats: float | None
) -> None:
    """Raise KlLimitError if the policy after the last step is too far from its start.

    `readings` are those of every step. None of them is of the last policy, so `kl_nats` is from the
    measurement after learning.
    """
    if max_kl_nats is not None and not kl_nats <= max_kl_nats:
        steps = len(readings)
        reason = _too_far("the problems measured after it", kl_nats, max_kl_nats)
        raise KlLimitError(steps, reason, last_sound(readings, max_kl_nats, steps - 1))


@contextmanager
def attribute_to_step(step: int, last_good: int) -> Iterator[None]:
    """Turn logits that are not finite into the error of the step whose update caused them.

    Before the first step the cause is the model itself, and the error stays as it is. `last_good`
    is the policy to go back to.
    """
    try:
        yield
    except NonFiniteLogitsError:
        if step == 0:
            raise
        reason = "its update left a policy whose logits are not finite"
        raise NonFiniteError(step, reason, last_good) from None


def _window(readings: Sequence[KlReading]) -> Sequence[KlReading]:
    """The readings whose mean is held to the limit after the last one of them."""
    return readings[max(1, len(readings) - KL_WINDOW) :] or readings


def _mean(readings: Sequence[KlReading]) -> float:
    return sum(reading.nats for reading in readings) / len(readings)


def _error_of_mean(window: Sequence[KlReading]) -> float | None:
    """The standard error of the mean of readings, whose completions are independent."""
    errors = [reading.error for reading in window if reading.error is not None]
    if len(errors) < len(window):
        return None
    return math.sqrt(sum(error**2 for error in errors)) / len(window)


def _too_far(where: str, kl_nats: float, max_kl_nats: float, error: float | None = None) -> str:
    wide = "" if error is None else f" (standard error {error:.2f})"
    return (
        f"KL to the start on {where} is {kl_nats:.2f} nats a completion{wide}, "
        f"above --max-kl {max_kl_nats:g}"
    )
