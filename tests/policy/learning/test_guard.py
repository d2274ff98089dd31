"""When a step is refused, what it says, and which policy was the last sound one."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import pytest

from policy.learning.guard import (
    KlLimitError,
    KlReading,
    NonFiniteError,
    StaleSamplesError,
    attribute_to_step,
    refuse_bad_end,
    refuse_bad_update,
)
from policy.learning.step_metrics import StepMetrics
from policy.sampling.categorical import NonFiniteLogitsError
from schemas.errors import StoppedError

SOUND = StepMetrics(
    step=7,
    problems=2,
    completions=4,
    tokens=20,
    loss=0.1,
    reward_mean=0.5,
    advantage_std=0.5,
    groups_with_signal=2,
    kl_nats=2.0,
    kl_error_nats=0.3,
    kl_nats_k3=2.0,
    entropy_nats_per_token=1.0,
    gradient_norm=1.0,
    clipped=False,
    learning_rate=1e-4,
    sampling_gap_nats=0.001,
    passes=1,
)


def refused(**changes: float) -> StoppedError:
    with pytest.raises(StoppedError) as caught:
        refuse_bad_update(replace(SOUND, **changes), max_kl_nats=2.0, max_gap_nats=0.001)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return caught.value


def test_finite_numbers_within_the_limits_are_let_through() -> None:
    refuse_bad_update(SOUND, max_kl_nats=2.0, max_gap_nats=0.001)
    refuse_bad_update(replace(SOUND, kl_nats=1e6, sampling_gap_nats=9.0))
    refuse_bad_update(replace(SOUND, kl_nats=-3.0), max_kl_nats=2.0)  # k1 has either sign
    refuse_bad_update(replace(SOUND, sampling_gap_nats=None), max_gap_nats=0.001)


def test_a_gap_to_the_sampler_above_the_limit_is_no_fault_of_the_policy() -> None:
    stop = refused(sampling_gap_nats=0.0011)
    assert isinstance(stop, StaleSamplesError)
    assert stop.last_good == 6
    assert "differ by 0.0011 nats a token" in str(stop)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_is_no_fault_of_the_policy(value: float) -> None:
    stop = refused(gradient_norm=value)
    assert isinstance(stop, NonFiniteError)
    assert stop.last_good == 6
    assert str(stop).startswith("learning stopped at step 7: ")
    assert "gradient norm" in str(stop)


@pytest.mark.parametrize("changes", [{"loss": math.nan}, {"kl_nats": math.inf}])
def test_a_loss_that_is_not_finite_is_the_fault_of_the_step_before(
    changes: dict[str, float],
) -> None:
    stop = refused(**changes)
    assert isinstance(stop, NonFiniteError)
    assert stop.last_good == 5
    assert refused(step=1, **changes).last_good == 0


def test_kl_above_the_limit_is_the_fault_of_the_step_before() -> None:
    stop = refused(kl_nats=2.01)
    assert isinstance(stop, KlLimitError)
    assert stop.last_good == 5
    assert "2.01 nats a completion (standard error 0.30), above --max-kl 2" in str(stop)


def test_the_mean_over_the_last_steps_is_held_to_the_limit_and_not_one_steps_noise() -> None:
    calm = [KlReading(1.5, 0.3)] * 9
    refuse_bad_update(replace(SOUND, kl_nats=3.0), recent_kl=calm, max_kl_nats=2.0)
    high = [KlReading(9.0, 0.3)] * 5 + [KlReading(2.1, 0.3)] * 4  # only the last four count
    with pytest.raises(KlLimitError) as caught:
        refuse_bad_update(replace(SOUND, kl_nats=2.1), recent_kl=high, max_kl_nats=2.0)
    assert caught.value.last_good == 5
    said = "on the last 5 steps is 2.10 nats a completion (standard error 0.13)"
    assert said in str(caught.value)
    older = [KlReading(2.1, None)] * 4  # tables of earlier versions know no error
    with pytest.raises(KlLimitError, match=r"2\.10 nats a completion, above"):
        refuse_bad_update(replace(SOUND, kl_nats=2.1), recent_kl=older, max_kl_nats=2.0)


def test_the_last_policy_is_held_to_the_same_limit() -> None:
    refuse_bad_end(8, kl_nats=2.0, max_kl_nats=2.0)
    refuse_bad_end(8, kl_nats=9.0, max_kl_nats=None)
    for value in (2.5, math.nan):
        with pytest.raises(KlLimitError) as caught:
            refuse_bad_end(8, kl_nats=value, max_kl_nats=2.0)
        assert (caught.value.step, caught.value.last_good) == (8, 7)


def test_logits_that_broke_are_blamed_on_the_last_update_and_on_none_before_it() -> None:
    with (
        pytest.raises(NonFiniteError, match="at step 3: its update left") as caught,
        attribute_to_step(3),
    ):
        raise NonFiniteLogitsError("not finite")
    assert caught.value.last_good == 2
    with pytest.raises(NonFiniteLogitsError), attribute_to_step(0):
        raise NonFiniteLogitsError("not finite")


def test_the_error_survives_a_process_border() -> None:
    stop = KlLimitError(4, "too far", 2).having("kept in a folder")
    again = pickle.loads(pickle.dumps(stop))
    assert (type(again), str(again), again.last_good) == (KlLimitError, str(stop), 2)
