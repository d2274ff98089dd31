"""A learner whose completions come from an earlier policy: checked against it, then weighted."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from policy.learning.guard import ServedSamplesError, StaleSamplesError
from policy.learning.learner import Learner
from policy.learning.off_policy import OffPolicy, RecentWeights, Served
from policy.learning.step_batch import step_batch
from policy.learning.step_metrics import StepMetrics
from policy.model.adapter import add_adapter
from policy.model.load import Policy, load_policy, quiet_transformers
from policy.model.precision import FLOAT32_GAP, HALF_GAP
from policy.sampling.sample import Samples, sample
from schemas.config import LearningSettings, SamplingSettings
from schemas.errors import InputError
from tests.policy.weights import digest_of_weights

PROMPTS = [[5, 6, 7, 8], [5, 6, 9], [5, 6, 7, 11, 12]]
SETTINGS = SamplingSettings(max_new_tokens=6)
Make = Callable[..., Learner]


@pytest.fixture
def make(tiny_folder: Callable[[str], Path]) -> Make:
    """A function that makes a learner of an adapter."""

    def made(off_policy: OffPolicy | None = None, **settings: Any) -> Learner:
        policy = load_policy(tiny_folder("llama"), name="tiny", device="cpu")
        add_adapter(policy.model, rank=4, alpha=8, seed=0)
        chosen: dict[str, Any] = {
            "adapter": "lora", "schedule": "constant", "learning_rate": 2e-2, "kl_weight": 0.1
        }  # fmt: skip
        return Learner(
            policy, None, LearningSettings(**chosen | settings), 9, off_policy=off_policy
        )

    return made


def drawn(learner: Learner, seed: int = 0) -> Samples:
    return sample(learner.policy, PROMPTS, samples=4, settings=SETTINGS, seed=seed)


def learn(learner: Learner, samples: Samples, **more: Any) -> StepMetrics:
    """One step in which longer completions earn more."""
    rewards = [[float(len(ids)) for ids in samples.token_ids[4 * b : 4 * b + 4]] for b in range(3)]
    return learner.step(PROMPTS, samples.token_ids, samples.logprobs, rewards, **more)


def test_what_a_server_sampled_from_a_policy_that_is_one_step_old_is_refused_on_policy(
    make: Make,
) -> None:
    learner = make()
    stale = drawn(learner, seed=1)
    learn(learner, drawn(learner), served=Served(step=0))
    before = digest_of_weights(learner.policy.model)
    with pytest.raises(ServedSamplesError, match="the policy that it would update") as caught:
        learn(learner, stale, served=Served(step=1))
    assert "loads adapters there" in caught.value.remedy
    assert isinstance(caught.value, StaleSamplesError)
    assert (caught.value.step, caught.value.last_good) == (2, 1)
    assert digest_of_weights(learner.policy.model) == before


@pytest.fixture
def tied(tmp_path: Path, tiny_folder: Callable[[str], Path]) -> Learner:
    """A learner of all weights, whose output layer is its embedding."""
    made = load_policy(tiny_folder("llama"), name="tiny", device="cpu")
    folder, model = tmp_path / "tied", cast(Any, made.model)
    with torch.no_grad():  # so small that no token is certain
        model.model.embed_tokens.weight.mul_(0.02)
    model.lm_head.weight = model.model.embed_tokens.weight
    model.config.tie_word_embeddings = True
    with quiet_transformers():
        model.save_pretrained(folder)
        made.tokenizer.save_pretrained(folder)
    policy, reference = (load_policy(folder, name="tied", device="cpu") for _ in range(2))
    settings = LearningSettings(schedule="constant", learning_rate=1e-3, kl_weight=0.1)
    return Learner(policy, reference.model, settings, 9)


def reloaded(learner: Learner, head: torch.Tensor | None = None) -> Policy:
    """A sampler's own copy of the policy, whose output layer is `head` in place of the new one."""
    model: Any = copy.deepcopy(learner.policy.model)
    if head is not None:
        model.lm_head.weight = torch.nn.Parameter(head)
    return replace(learner.policy, model=model)


def learn_the_even(learner: Learner, samples: Samples, step: int) -> StepMetrics:
    """One step in which completions that begin with an even token earn more: none of them ends."""
    even = [float(ids[0] % 2 == 0) for ids in samples.token_ids]
    rewards = [even[4 * b : 4 * b + 4] for b in range(3)]
    served = Served(step=step)
    return learner.step(PROMPTS, samples.token_ids, samples.logprobs, rewards, served=served)


def test_a_tied_output_layer_that_a_reload_left_as_it_was_is_refused_by_the_gap_alone(
    tied: Learner,
) -> None:
    model: Any = tied.policy.model
    assert model.lm_head.weight is model.model.embed_tokens.weight
    head = model.lm_head.weight.detach().clone()
    learn_the_even(tied, drawn(tied), 0)
    assert not torch.equal(model.lm_head.weight, head)
    stale, whole = reloaded(tied, head), reloaded(tied)
    fresh: Any = stale.model
    assert torch.equal(fresh.model.embed_tokens.weight, model.model.embed_tokens.weight)
    of_stale, of_whole = (
        sample(policy, PROMPTS, samples=4, settings=SETTINGS, seed=1) for policy in (stale, whole)
    )

    # what it samples looks like any other completions
    assert [len(row) for row in of_stale.logprobs] == [len(ids) for ids in of_stale.token_ids]
    assert all(-50.0 < value < 0.0 for row in of_stale.logprobs for value in row)
    assert set(of_stale.finish_reasons) == set(of_whole.finish_reasons)
    assert all(tied.policy.tokenizer.decode(ids) for ids in of_stale.token_ids)

    before = digest_of_weights(tied.policy.model)
    with pytest.raises(StaleSamplesError, match="the policy that it would update") as caught:
        learn_the_even(tied, of_stale, 1)
    assert (caught.value.step, caught.value.last_good) == (2, 1)
    assert digest_of_weights(tied.policy.model) == before
    accepted = learn_the_even(tied, of_whole, 1)
    assert accepted.sampling_gap_nats is not None
    assert accepted.sampling_gap_nats < FLOAT32_GAP / 10


def test_without_log_probabilities_a_server_is_not_learned_from(make: Make) -> None:
    learner = make()
    token_ids = drawn(learner).token_ids
    with pytest.raises(InputError, match="must come with their log-probabilities"):
        learner.step(PROMPTS, token_ids, None, torch.zeros(3, 4), served=Served(step=0))


def test_older_samples_are_learned_from_where_they_are_those_of_the_policy_that_is_named(
    make: Make,
) -> None:
    learner = make(OffPolicy(max_steps=1, cap=2.0))
    first, second = drawn(learner), drawn(learner, seed=1)
    on_policy = learn(learner, first, served=Served(step=0))
    assert (on_policy.off_policy_steps, on_policy.truncated_share) == (0, 0.0)
    older = learn(learner, second, served=Served(step=0))
    assert older.off_policy_steps == 1
    assert older.sampling_gap_nats is not None
    assert older.sampling_gap_nats < FLOAT32_GAP
    assert older.truncated_share is not None


@pytest.mark.parametrize("named", [0, 2])
def test_samples_of_another_policy_than_the_one_named_are_refused_also_off_policy(
    make: Make, named: int
) -> None:
    learner = make(OffPolicy(max_steps=2, cap=2.0))
    learn(learner, drawn(learner), served=Served(step=0))
    of_step_1 = drawn(learner, seed=1)
    learn(learner, drawn(learner, seed=2), served=Served(step=1))
    meant = "2 steps before" if named == 0 else "that it would update"
    with pytest.raises(ServedSamplesError, match=f"not sampled from the policy {meant}"):
        learn(learner, of_step_1, served=Served(step=named))


def test_a_policy_that_is_too_old_is_not_kept(make: Make) -> None:
    learner = make(OffPolicy(max_steps=1, cap=2.0))
    for seed in range(2):
        learn(learner, drawn(learner, seed), served=Served(step=seed))
    with pytest.raises(InputError, match="only those after 1, 2"):
        learn(learner, drawn(learner), served=Served(step=0))


def gradients_after(learner: Learner, samples: Samples, step: int) -> list[torch.Tensor]:
    """The weights that a step from these samples leaves."""
    learn(learner, samples, served=Served(step=step))
    return [value.detach().clone() for value in learner.policy.model.parameters()]


def test_on_policy_the_weights_change_nothing_but_rounding(make: Make) -> None:
    plain, weighted = make(), make(OffPolicy(max_steps=1, cap=2.0))
    samples = drawn(plain)
    for mine, theirs in zip(
        gradients_after(plain, samples, 0), gradients_after(weighted, samples, 0), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=0.0, atol=1e-4)


def test_truncating_at_a_low_cap_learns_something_else(make: Make) -> None:
    learners = [make(OffPolicy(max_steps=1, cap=cap)) for cap in (2.0, 0.25)]
    older = drawn(learners[0], seed=3)
    after: list[tuple[float, float]] = []
    for learner in learners:
        learn(learner, drawn(learner), served=Served(step=0))
        metrics = learn(learner, older, served=Served(step=0))
        assert metrics.truncated_share is not None
        after.append((metrics.truncated_share, metrics.loss))
    assert after[1][0] == 1.0
    assert after[0][0] < 1.0
    assert not math.isclose(after[0][1], after[1][1], rel_tol=1e-3)


def test_a_checkpoint_keeps_what_older_samples_are_checked_against(
    make: Make, tmp_path: Path
) -> None:
    settings = OffPolicy(max_steps=1, cap=2.0)
    learner = make(settings)
    first, second = drawn(learner), drawn(learner, seed=1)
    learn(learner, first, served=Served(step=0))
    learner.save(tmp_path / "one")
    resumed = make(settings)
    resumed.load(tmp_path / "one")
    learn(learner, second, served=Served(step=0))
    learn(resumed, second, served=Served(step=0))
    assert digest_of_weights(learner.policy.model) == digest_of_weights(resumed.policy.model)


@pytest.mark.parametrize("other", [None, OffPolicy(2, 2.0), OffPolicy(1, 3.0)])
def test_a_checkpoint_of_other_settings_is_refused(
    make: Make, tmp_path: Path, other: OffPolicy | None
) -> None:
    make(OffPolicy(1, 2.0)).save(tmp_path / "one")
    with pytest.raises(InputError, match="another off_policy"):
        make(other).load(tmp_path / "one")


def test_a_checkpoint_without_the_earlier_weights_is_not_readable(
    make: Make, tmp_path: Path
) -> None:
    learner = make(OffPolicy(1, 2.0))
    learner.save(tmp_path / "one")
    (tmp_path / "one" / "earlier.safetensors").unlink()
    with pytest.raises(InputError, match="not a readable checkpoint"):
        learner.load(tmp_path / "one")


def test_earlier_weights_stand_in_and_go_again_to_the_bit() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    recent = RecentWeights({"a": parameter}, OffPolicy(1, 2.0))
    recent.note(0)
    with torch.no_grad():
        parameter.mul_(3.0)
    recent.note(1)
    with recent.standing_in(0):
        assert parameter.tolist() == [1.0, 2.0]
    assert parameter.tolist() == [3.0, 6.0]
    with pytest.raises(InputError, match="does not hold the weights"):
        recent.restore({"0/b": torch.ones(2)})


@pytest.mark.parametrize(
    ("dtype", "gap"), [("float32", FLOAT32_GAP), ("not known", FLOAT32_GAP), ("bfloat16", HALF_GAP)]
)
def test_a_server_is_allowed_the_rounding_of_what_it_says_it_computes_in(
    dtype: str, gap: float, make: Make
) -> None:
    learner, samples = make(), None
    samples = drawn(learner)
    shift: Sequence[Sequence[float]] = [[one - 0.01 for one in row] for row in samples.logprobs]
    rewards = [[1.0, 0.0, 0.0, 1.0]] * 3
    given = (PROMPTS, samples.token_ids, shift, rewards)
    if gap > 0.01:
        learner.step(*given, served=Served(step=0, dtype=dtype))
        return
    with pytest.raises(ServedSamplesError, match=r"differ by 0\.01 nats"):
        learner.step(*given, served=Served(step=0, dtype=dtype))


def test_a_batch_keeps_its_samplers_log_probabilities_by_problem() -> None:
    completions = [[1, 2], [3], [4], [5, 6, 7]]
    batch = step_batch([[1], [2]], completions, [[0.0, 1.0], [1.0, 0.0]], torch.device("cpu"))
    whole = batch.with_sampled(torch.arange(1.0, 8.0))
    assert whole.sampled is not None
    assert whole.sampled.tolist() == [
        [[1.0, 2.0, 0.0], [3.0, 0.0, 0.0]],
        [[4.0, 0.0, 0.0], [5.0, 6.0, 7.0]],
    ]
    part = whole.only([0])
    assert part.sampled is not None
    assert part.sampled.tolist() == [[[1.0, 2.0], [3.0, 0.0]]]
