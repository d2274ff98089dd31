"""When a step is refused, what it says, and which policy was the last sound one."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from dataclasses import replace

import pytest

from policy.learning.guard import (
    KlLimitError,
    KlReading,
    NonFiniteError,
    StaleSamplesError,
    attribute_to_step,
    last_sound,
    refuse_bad_end,
    refuse_bad_update,
)
from policy.learning.step_metrics import CompletionNumbers, StepMetrics
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
    each=CompletionNumbers([], [], [], [], []),
)


BEFORE = [KlReading(0.0, 0.0)] + [KlReading(2.0, 0.3)] * 5  # of the steps 1 to 6


def refused(**changes: float) -> StoppedError:
    step = replace(SOUND, **changes)  # type: ignore[arg-type]
    with pytest.raises(StoppedError) as caught:
        refuse_bad_update(
            step, earlier_kl=BEFORE[: step.step - 1], max_kl_nats=2.0, max_gap_nats=0.001
        )
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


def stopped_by_kl(nats: Sequence[float], limit: float) -> KlLimitError:
    """The stop that these readings lead to, one a step from the first step on."""
    earlier: list[KlReading] = []
    for step, reading in enumerate(nats, 1):
        now = replace(SOUND, step=step, kl_nats=reading)
        try:
            refuse_bad_update(now, earlier_kl=earlier, max_kl_nats=limit)
        except KlLimitError as stop:
            return stop
        earlier.append(KlReading(reading, 0.3))
    raise AssertionError("no step was refused")


@pytest.mark.parametrize(
    ("nats", "step", "kept"),
    [
        # step s reads policy s - 1, so policy 4 was read as 2, and step 5's mean was 1.25
        ([0, 0.5, 1, 1.5, 2, 2.5, 3.1], 7, 4),
        ([0, 1, 2, 4, 6], 4, 2),  # the mean of 1, 2 and 4 is 2.3; the 0 of the start is in none
        ([0, 0, 0, 9.9], 4, 2),
        ([0, 3], 2, 0),
        ([0, 1, 1, 1, 1, 2.1, 2.2, 2.3, 2.4, 2.5], 10, 4),  # the mean lags as far as it can
        ([0, 3, 3, 3, 3, 3], 2, 0),
        ([0, 1, 2.9, 1.9, 2.1, 2.2], 6, 3),
    ],
)
def test_what_is_kept_was_itself_read_within_the_limit_and_so_was_the_mean_up_to_it(
    nats: list[float], step: int, kept: int
) -> None:
    stop = stopped_by_kl(nats, 2.0)
    assert (stop.step, stop.last_good) == (step, kept)
    assert f"; the last of them read {nats[step - 1]:.2f}" in str(stop) or step == 2


def test_every_other_stop_keeps_a_policy_within_the_limit_too() -> None:
    earlier = [KlReading(nats, 0.3) for nats in (0, 1, 1, 1, 2.5, 2.6)]
    for changes in ({"loss": math.nan}, {"gradient_norm": math.nan}, {"sampling_gap_nats": 1.0}):
        step = replace(SOUND, kl_nats=2.2, **changes)  # type: ignore[arg-type]
        with pytest.raises(StoppedError) as caught:
            refuse_bad_update(step, earlier_kl=earlier, max_kl_nats=2.0, max_gap_nats=0.001)
        assert caught.value.last_good == 3
    assert last_sound(earlier, 2.0, newest=5) == 3
    assert last_sound(earlier, None, newest=5) == 5
    assert last_sound(earlier, 0.5, newest=5) == 0


def test_the_mean_over_the_last_steps_is_held_to_the_limit_and_not_one_steps_noise() -> None:
    calm = [KlReading(1.5, 0.3)] * 6
    refuse_bad_update(replace(SOUND, kl_nats=3.0), earlier_kl=calm, max_kl_nats=2.0)
    high = [KlReading(9.0, 0.3)] * 2 + [KlReading(2.1, 0.3)] * 4  # only the last four count
    with pytest.raises(KlLimitError) as caught:
        refuse_bad_update(replace(SOUND, kl_nats=2.1), earlier_kl=high, max_kl_nats=2.0)
    said = "on the last 5 steps is 2.10 nats a completion (standard error 0.13)"
    assert said in str(caught.value)
    older = [KlReading(2.1, None)] * 6  # tables of earlier versions know no error
    with pytest.raises(KlLimitError, match=r"2\.10 nats a completion, above"):
        refuse_bad_update(replace(SOUND, kl_nats=2.1), earlier_kl=older, max_kl_nats=2.0)


def test_the_last_policy_is_held_to_the_same_limit() -> None:
    earlier = [KlReading(nats, 0.3) for nats in (0, 1, 1, 1, 1, 1, 1.5, 2.5)]  # of steps 1 to 8
    refuse_bad_end(earlier, kl_nats=2.0, max_kl_nats=2.0)
    refuse_bad_end(earlier, kl_nats=9.0, max_kl_nats=None)
    for value in (2.5, math.nan):
        with pytest.raises(KlLimitError) as caught:
            refuse_bad_end(earlier, kl_nats=value, max_kl_nats=2.0)
        assert (caught.value.step, caught.value.last_good) == (8, 6), "policy 7 was read as 2.5"


def test_logits_that_broke_are_blamed_on_the_last_update_and_on_none_before_it() -> None:
    with (
        pytest.raises(NonFiniteError, match="at step 3: its update left") as caught,
        attribute_to_step(3, last_good=2),
    ):
        raise NonFiniteLogitsError("not finite")
    assert caught.value.last_good == 2
    with pytest.raises(NonFiniteLogitsError), attribute_to_step(0, last_good=0):
        raise NonFiniteLogitsError("not finite")


def test_the_error_survives_a_process_border() -> None:
    stop = KlLimitError(4, "too far", 2).having("kept in a folder")
    again = pickle.loads(pickle.dumps(stop))
    assert (type(again), str(again), again.last_good) == (KlLimitError, str(stop), 2)
