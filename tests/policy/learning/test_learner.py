"""The learner on tiny random models: what one update does, and going on bit for bit."""

import copy
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from policy.learning.guard import KlLimitError, NonFiniteError, StaleSamplesError
from policy.learning.learner import Learner
from policy.learning.schedule import scheduled_rate
from policy.learning.step_metrics import StepMetrics
from policy.model.load import Policy, load_policy
from policy.sampling.sample import Samples, sample
from schemas.config import LearningSettings, SamplingSettings
from schemas.errors import InputError
from tests.policy.weights import digest_of_weights

PROMPTS = [[5, 6, 7, 8], [5, 6, 9], [5, 6, 7, 11, 12]]
COMPLETIONS = [[3, 1], [4, 4, 1], [10], [3, 3, 3, 1], [1], [2, 1]]
REWARDS = [[1.0, 0.0], [0.0, 0.0], [0.5, 1.0]]


class Tokenizer:
    """Stands in for a tokenizer: exporting only has to write it beside the model."""

    def save_pretrained(self, folder: Path) -> None:
        (Path(folder) / "tokenizer.json").write_text("{}", encoding="utf-8")


def _policy(model: Any) -> Policy:
    tokenizer: Any = Tokenizer()
    return Policy(
        model, tokenizer, "tiny", "0" * 64, (1,), Path(), torch.device("cpu"), torch.float32
    )


def _model(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        attention_dropout=0.5,
    )
    return LlamaForCausalLM(config)


def _learner(tokens_per_pass: int | None = None, **settings: Any) -> Learner:
    chosen: dict[str, Any] = {"learning_rate": 1e-2, "schedule": "constant"} | settings
    chosen["max_tokens_per_pass"] = tokens_per_pass
    reference = _model()
    return Learner(
        _policy(copy.deepcopy(reference)),
        reference,
        LearningSettings(**chosen),
        total_steps=6,
    )


def _weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in learner.policy.model.named_parameters()}


def rewards_of(sampled: Samples) -> list[list[float]]:
    """Longer completions earn more: [3, 4]."""
    return [[float(len(ids)) for ids in sampled.token_ids[4 * b : 4 * b + 4]] for b in range(3)]


def _step(learner: Learner, rewards: Sequence[Sequence[float]] = REWARDS) -> StepMetrics:
    return learner.step(PROMPTS, COMPLETIONS, None, rewards)


def test_a_step_makes_the_rewarded_completion_likelier() -> None:
    learner = _learner(kl_weight=0.0)
    before = _step(learner, [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    after = _step(learner, [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert after.loss < before.loss
    assert before.groups_with_signal == 1
    assert before.gradient_norm > 0


def test_metrics_start_at_no_divergence_and_count_what_was_learned_from() -> None:
    learner = _learner()
    first = _step(learner)
    assert first.kl_nats == pytest.approx(0.0, abs=1e-6)
    assert first.kl_nats_k3 == pytest.approx(0.0, abs=1e-6)
    assert (first.step, first.problems, first.completions, first.tokens) == (1, 3, 6, 13)
    assert first.reward_mean == pytest.approx(2.5 / 6)
    assert first.entropy_nats_per_token == pytest.approx(3.4, abs=0.3)  # near log 32
    assert first.sampling_gap_nats is None
    assert _step(learner).kl_nats_k3 > 0


def test_completions_of_another_policy_are_refused_with_the_gap_per_token() -> None:
    learner = _learner()
    before = digest_of_weights(learner.policy.model)
    shifted = [[-3.0] * len(completion) for completion in COMPLETIONS]
    with pytest.raises(StaleSamplesError, match=r"differ by 0\.[2-7]\d* nats a token") as caught:
        learner.step(PROMPTS, COMPLETIONS, shifted, REWARDS)
    assert (caught.value.step, caught.value.last_good) == (1, 0)
    assert digest_of_weights(learner.policy.model) == before
    assert learner.steps_done == 0


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_only_completions_of_the_policy_as_it_is_now_leave_no_gap(
    tiny_folder: Callable[[str], Path], architecture: str, temperature: float
) -> None:
    folder = tiny_folder(architecture)
    policy, reference = (load_policy(folder, name=architecture, device="cpu") for _ in range(2))
    sampled_with = SamplingSettings(temperature=temperature, max_new_tokens=8)
    sampled = sample(policy, PROMPTS, samples=4, settings=sampled_with, seed=0)
    learner = Learner(policy, reference.model, LearningSettings(), 2, temperature=temperature)
    metrics = learner.step(PROMPTS, sampled.token_ids, sampled.logprobs, rewards_of(sampled))
    assert metrics.sampling_gap_nats is not None
    assert metrics.sampling_gap_nats < 1e-4
    settings = learner.settings.model_copy(update={"learning_rate": 1e-2})
    bold = Learner(policy, reference.model, settings, 2, temperature=temperature)
    sampled = sample(policy, PROMPTS, samples=4, settings=sampled_with, seed=1)
    bold.step(PROMPTS, sampled.token_ids, sampled.logprobs, rewards_of(sampled))
    with pytest.raises(StaleSamplesError):
        bold.step(PROMPTS, sampled.token_ids, sampled.logprobs, rewards_of(sampled))


@pytest.mark.parametrize("tokens_per_pass", [None, 12])
def test_the_log_probabilities_after_a_step_are_those_before_the_next(
    tokens_per_pass: int | None,
) -> None:
    learner = _learner(tokens_per_pass)
    first = _step(learner)
    after = learner.sum_logprobs(PROMPTS, COMPLETIONS)
    second = _step(learner)
    assert after == pytest.approx(second.each.sum_logprobs, abs=1e-5)
    assert after != pytest.approx(first.each.sum_logprobs, abs=1e-2), "the step moved the policy"
    assert first.each.sum_logprobs_reference == pytest.approx(first.each.sum_logprobs, abs=1e-5)
    assert second.each.sum_logprobs_reference == pytest.approx(
        first.each.sum_logprobs_reference, abs=1e-5
    ), "the reference stays"


def test_computing_log_probabilities_changes_no_later_step() -> None:
    with_them, without = _learner(), _learner()
    for _ in range(3):
        _step(with_them)
        with_them.sum_logprobs(PROMPTS, COMPLETIONS)
        _step(without)
    assert digest_of_weights(with_them.policy.model) == digest_of_weights(without.policy.model)


def test_a_sum_is_that_of_the_tokens_of_one_completion() -> None:
    """Against the model alone: each completion by itself, without packing or padding."""
    learner = _learner()
    _step(learner)
    found = learner.sum_logprobs(PROMPTS, COMPLETIONS)
    for row, completion in enumerate(COMPLETIONS):
        prompt = PROMPTS[row // 2]
        with torch.no_grad():
            logits = learner.policy.model(torch.tensor([[*prompt, *completion]])).logits[0]
        logprobs = logits.double().log_softmax(-1)
        tokens = [logprobs[len(prompt) - 1 + i, token] for i, token in enumerate(completion)]
        assert found[row] == pytest.approx(float(sum(tokens)), abs=1e-4)


def test_equal_rewards_still_pull_towards_the_reference() -> None:
    learner = _learner(kl_weight=0.5)
    _step(learner)
    away = _step(learner, [[1.0, 1.0]] * 3)
    assert away.groups_with_signal == 0
    assert away.gradient_norm > 0
    for _ in range(20):
        last = _step(learner, [[1.0, 1.0]] * 3)
    assert last.kl_nats_k3 < away.kl_nats_k3


def test_the_gradient_is_clipped_to_the_norm_asked_for() -> None:
    learner = _learner(max_gradient_norm=1e-3)
    assert _step(learner).clipped
    assert not _step(_learner(max_gradient_norm=1e3)).clipped


@pytest.mark.parametrize("reduction", ["sequence", "token"])
def test_several_passes_give_the_update_of_one(reduction: str) -> None:
    whole, split = (_learner(tokens, reduction=reduction) for tokens in (None, 1))
    one, three = _step(whole), _step(split)
    assert (one.passes, three.passes) == (1, 3)
    assert three.loss == pytest.approx(one.loss, abs=1e-6)
    assert three.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-5)
    assert three.entropy_nats_per_token == pytest.approx(one.entropy_nats_per_token, rel=1e-6)
    for name, weights in _weights(whole).items():
        torch.testing.assert_close(_weights(split)[name], weights, rtol=0, atol=1e-4)


@pytest.mark.parametrize("rewards", [REWARDS, [[1.0, 1.0]] * 3])
def test_leaving_out_groups_without_gradient_changes_nothing(
    rewards: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sparing, full = _learner(kl_weight=0.0), _learner(kl_weight=0.0)
    for learner in (sparing, full):
        _step(learner, [[1.0, 0.0], [0.0, 1.0], [0.5, 1.0]])  # gives Adam a momentum
    got = _step(sparing, rewards)
    monkeypatch.setattr(
        "policy.learning.gradient.groups_with_gradient",
        lambda rewards, *_: torch.ones(len(rewards)) > 0,
    )
    expected = _step(full, rewards)
    assert got.gradient_norm == pytest.approx(expected.gradient_norm, rel=1e-5)
    assert got.kl_nats == pytest.approx(expected.kl_nats, abs=1e-6)
    assert got.entropy_nats_per_token == pytest.approx(expected.entropy_nats_per_token)
    for name, weights in _weights(full).items():
        torch.testing.assert_close(_weights(sparing)[name], weights, rtol=0, atol=1e-4)


def test_the_temperature_of_the_sampler_is_part_of_the_policy() -> None:
    model = _model()
    learner = Learner(_policy(copy.deepcopy(model)), model, LearningSettings(), 1, temperature=1e4)
    # so hot that every one of the 32 tokens is equally likely
    assert _step(learner).entropy_nats_per_token == pytest.approx(math.log(32), abs=1e-3)


def test_linear_schedule_falls_towards_zero_and_ends() -> None:
    rates = [scheduled_rate(1.0, "linear", step, 4) for step in range(4)]
    assert rates == [1.0, 0.75, 0.5, 0.25]
    assert scheduled_rate(1.0, "constant", 99, 4) == 1.0
    with pytest.raises(InputError, match="all 4 steps"):
        scheduled_rate(1.0, "linear", 4, 4)


def test_the_running_mean_baseline_learns_from_earlier_steps_only() -> None:
    learner = _learner(baseline="running_mean", kl_weight=0.0)
    assert _step(learner, [[1.0, 1.0]] * 3).gradient_norm > 0
    assert learner.running_mean.mean == 1.0
    assert _step(learner, [[1.0, 1.0]] * 3).gradient_norm == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_six_steps_equal_three_saved_loaded_and_three_more_byte_for_byte(
    tmp_path: Path, schedule: str
) -> None:
    settings: dict[str, Any] = {"schedule": schedule, "baseline": "running_mean"}
    straight = _learner(**settings)
    metrics = [_step(straight) for _ in range(6)]

    first = _learner(**settings)
    for _ in range(3):
        _step(first)
    first.save(tmp_path / "checkpoint")
    resumed = _learner(**settings)
    resumed.load(tmp_path / "checkpoint")
    assert digest_of_weights(resumed.policy.model) == digest_of_weights(first.policy.model)
    again = [_step(resumed) for _ in range(3)]

    assert again == metrics[3:]
    assert digest_of_weights(resumed.policy.model) == digest_of_weights(straight.policy.model)
    straight.save(tmp_path / "a")
    resumed.save(tmp_path / "b")
    for name in ("weights.safetensors", "optimizer.safetensors", "state.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_checkpoint_before_the_first_step_can_be_resumed(tmp_path: Path) -> None:
    learner = _learner()
    learner.save(tmp_path / "checkpoint")
    fresh = _learner()
    fresh.load(tmp_path / "checkpoint")
    assert _step(fresh) == _step(learner)
    assert digest_of_weights(fresh.policy.model) == digest_of_weights(learner.policy.model)


def test_tied_embeddings_are_saved_and_updated_once(tmp_path: Path) -> None:
    learner = _learner()
    _step(learner)
    learner.save(tmp_path / "checkpoint")
    names = set(load_file(tmp_path / "checkpoint" / "weights.safetensors"))
    assert "model.embed_tokens.weight" in names
    assert "lm_head.weight" not in names
    model = learner.policy.model
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_saving_twice_replaces_the_checkpoint_and_leaves_nothing_else(tmp_path: Path) -> None:
    learner = _learner()
    for _ in range(2):
        _step(learner)
        learner.save(tmp_path / "checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    state = json.loads((tmp_path / "checkpoint" / "state.json").read_text())
    assert state["steps_done"] == 2


def test_a_failed_save_leaves_the_former_checkpoint_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = _learner()
    learner.save(tmp_path / "checkpoint")
    before = (tmp_path / "checkpoint" / "state.json").read_bytes()
    _step(learner)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("policy.learning.checkpoint.json.dumps", full)
    with pytest.raises(OSError, match="no space"):
        learner.save(tmp_path / "checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert (tmp_path / "checkpoint" / "state.json").read_bytes() == before


def test_a_checkpoint_of_other_settings_or_another_model_is_refused(tmp_path: Path) -> None:
    _learner().save(tmp_path / "checkpoint")
    other = _learner(kl_weight=0.5)
    before = digest_of_weights(other.policy.model)
    with pytest.raises(InputError, match="another settings"):
        other.load(tmp_path / "checkpoint")
    assert digest_of_weights(other.policy.model) == before


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a readable checkpoint") as caught:
        _learner().load(tmp_path / "nowhere")
    assert "nowhere" in caught.value.where


@pytest.mark.parametrize("content", ["", "[1, 2]", "{", "3"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, content: str) -> None:
    learner = _learner()
    learner.save(tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "state.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        learner.load(tmp_path / "checkpoint")


def test_an_exported_folder_loads_as_a_transformers_model(tmp_path: Path) -> None:
    learner = _learner()
    _step(learner)
    learner.export(tmp_path / "exported")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "exported")
    for mine, theirs in zip(learner.policy.model.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert (tmp_path / "exported" / "tokenizer.json").exists()


def test_an_infinite_gradient_of_a_finite_loss_leaves_the_weights_untouched() -> None:
    learner = _learner()
    before = digest_of_weights(learner.policy.model)
    weight = next(learner.policy.model.parameters())
    hook = weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(NonFiniteError, match="gradient norm"):
        _step(learner)
    assert digest_of_weights(learner.policy.model) == before
    hook.remove()
    assert _step(learner) == _step(_learner())


def test_a_non_finite_loss_leaves_weights_and_counters_untouched() -> None:
    learner = _learner()
    _step(learner)
    before = digest_of_weights(learner.policy.model)
    assert learner.reference_model is not None
    with torch.no_grad():
        healthy = learner.reference_model.model.norm.weight.clone()
        learner.reference_model.model.norm.weight.fill_(float("inf"))
    with pytest.raises(NonFiniteError, match="step 2"):
        _step(learner)
    assert digest_of_weights(learner.policy.model) == before
    assert learner.steps_done == 1
    with torch.no_grad():
        learner.reference_model.model.norm.weight.copy_(healthy)
    assert _step(learner).step == 2


def test_kl_above_the_limit_leaves_weights_and_counters_untouched() -> None:
    learner = _learner(kl_weight=0.0)
    while _step(learner).kl_nats < 0.05:
        pass
    before, done = digest_of_weights(learner.policy.model), learner.steps_done
    with pytest.raises(KlLimitError, match="above --max-kl 0.01"):
        learner.step(PROMPTS, COMPLETIONS, None, REWARDS, max_kl_nats=0.01)
    assert (digest_of_weights(learner.policy.model), learner.steps_done) == (before, done)
    assert _step(learner).step == done + 1


def test_dropout_is_off_whatever_the_model_was_built_with() -> None:
    learner = _learner()
    assert not learner.policy.model.training
    assert _step(learner) == _step(_learner())


@pytest.mark.parametrize(
    ("prompts", "completions", "rewards", "says"),
    [
        (PROMPTS, COMPLETIONS, [1.0] * 6, "B problems × N completions"),
        (PROMPTS[:2], COMPLETIONS, REWARDS, "do not fit"),
        (PROMPTS, COMPLETIONS[:5], REWARDS, "do not fit"),
        (PROMPTS, [*COMPLETIONS[:5], []], REWARDS, "has no token"),
        ([*PROMPTS[:2], []], COMPLETIONS, REWARDS, "has no token"),
        (PROMPTS, COMPLETIONS, [[1.0, float("nan")]] * 3, "not a finite number"),
    ],
)
def test_input_that_does_not_fit_is_refused(
    prompts: Any, completions: Any, rewards: Any, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        _learner().step(prompts, completions, None, rewards)


def test_a_reference_with_another_vocabulary_is_refused() -> None:
    config = _model().config
    larger = LlamaForCausalLM(LlamaConfig(**config.to_dict() | {"vocab_size": 40}))
    with pytest.raises(InputError, match="the policy has 32 tokens and its reference 40"):
        Learner(_policy(_model()), larger, LearningSettings(), 1)


def test_settings_that_cannot_work_are_refused_at_the_start() -> None:
    model = _model()
    with pytest.raises(InputError, match="policy itself"):
        Learner(_policy(model), model, LearningSettings(), 1)
    with pytest.raises(InputError, match="expected gradient of zero"):
        _learner(kl_estimator="k1", kl_placement="loss")
    with pytest.raises(InputError, match="temperature 0"):
        Learner(_policy(model), _model(), LearningSettings(), 1, temperature=0)


def test_a_checkpoint_of_another_model_or_without_its_moments_is_refused(tmp_path: Path) -> None:
    learner = _learner()
    _step(learner)
    learner.save(tmp_path / "checkpoint")
    for file, what in (("optimizer", "another optimizer"), ("weights", "another model")):
        path = tmp_path / "checkpoint" / f"{file}.safetensors"
        whole = path.read_bytes()
        save_file(dict(list(load_file(path).items())[1:]), path)
        other = _learner()
        before = digest_of_weights(other.policy.model)
        with pytest.raises(InputError, match=what):
            other.load(tmp_path / "checkpoint")
        assert digest_of_weights(other.policy.model) == before
        path.write_bytes(whole)


def test_a_schedule_that_ends_belongs_to_its_number_of_steps(tmp_path: Path) -> None:
    _learner(schedule="linear").save(tmp_path / "checkpoint")
    longer = _learner(schedule="linear")
    longer.total_steps = 7
    with pytest.raises(InputError, match="another total_steps"):
        longer.load(tmp_path / "checkpoint")


def test_weights_too_coarse_for_small_updates_are_refused() -> None:
    with pytest.raises(InputError, match="too coarse for small updates"):
        Learner(_policy(_model().bfloat16()), _model(), LearningSettings(), 1)


def test_without_an_adapter_a_reference_is_needed() -> None:
    with pytest.raises(InputError, match="needs a reference model"):
        Learner(_policy(_model()), None, LearningSettings(), 1)
