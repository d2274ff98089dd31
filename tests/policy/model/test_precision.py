"""float32 on a CPU; bfloat16 products of float32 weights on a GPU, here tried on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from policy.attention.shared_prefix import PrefixCache
from policy.learning.checkpoint import trainable
from policy.learning.learner import Learner
from policy.learning.recompute import recomputing_layers
from policy.logprobs.completion_logprobs import CompletionLogprobs
from policy.logprobs.plain import plain_logprobs
from policy.model.adapter import add_adapter
from policy.model.load import Policy, load_policy
from policy.model.precision import (
    _precise_head,
    compute_dtype,
    compute_in,
    computing,
    working_dtype,
)
from policy.model.tiny import ARCHITECTURES
from policy.sampling.sample import sample
from schemas.config import Adapter, LearningSettings, SamplingSettings
from tests.policy.weights import digest_of_weights

PROMPTS = [[5, 6, 7, 8], [5, 6, 9], [5, 6, 7, 11, 12]]
COMPLETIONS = [[3, 1], [4, 4, 1], [10], [3, 3, 3, 1], [1], [2, 1]]
REWARDS = [[1.0, 0.0], [0.0, 0.0], [0.5, 1.0]]
SETTINGS = SamplingSettings(max_new_tokens=8)
COARSE = 0.05  # nats; what products in bfloat16 may move a token's log-probability by
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture
def coarsely(
    tiny_policy: Callable[[str], Policy], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """`auto` is bfloat16, and the models that are loaded already compute in it."""
    monkeypatch.setattr("policy.model.precision.has_bfloat16", lambda device: True)
    models = [tiny_policy(architecture).model for architecture in ARCHITECTURES]
    for model in models:
        compute_in(model, torch.bfloat16)
    yield
    for model in models:
        compute_in(model, torch.float32)


@pytest.mark.parametrize(("supported", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_the_device_decides(
    supported: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: supported)
    assert compute_dtype(torch.device("cuda")) == dtype
    assert compute_dtype(torch.device("cpu")) == torch.float32


def test_a_cpu_computes_in_float32_through_and_through(
    tiny_policy: Callable[[str], Policy],
) -> None:
    model = tiny_policy("llama").model
    with computing(model):
        assert not torch.is_autocast_enabled("cpu")
        assert set(layer_dtypes(model).values()) == {torch.float32}
        assert working_dtype(torch.ones(1)) == torch.float32


def layer_dtypes(model: Any) -> dict[str, torch.dtype]:
    """What each linear layer gives."""
    found: dict[str, torch.dtype] = {}

    def watch(name: str) -> Any:
        return lambda module, inputs, output: found.update({name: output.dtype})

    hooks = [
        module.register_forward_hook(watch(name))
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    ]
    with torch.no_grad():
        model(torch.tensor([PROMPTS[0]]))
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.usefixtures("coarsely")
def test_only_the_output_layer_stays_in_float32(tiny_policy: Callable[[str], Policy]) -> None:
    model = tiny_policy("llama").model
    with computing(model):
        dtypes = layer_dtypes(model)
    assert dtypes.pop("lm_head") == torch.float32
    assert set(dtypes.values()) == {torch.bfloat16}
    assert set(layer_dtypes(model).values()) == {torch.float32}, "as before afterwards"
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.usefixtures("coarsely")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_sampler_records_what_the_learner_differentiates(
    architecture: str, tiny_policy: Callable[[str], Policy]
) -> None:
    policy = tiny_policy(architecture)
    sampled = sample(policy, PROMPTS, samples=6, settings=SETTINGS, seed=0)
    with torch.no_grad():
        again = CompletionLogprobs(policy.model)(policy.model, PROMPTS, sampled.token_ids, 1.0)
        exact = plain_logprobs(policy.model, PROMPTS, sampled.token_ids)
    assert again.dtype == torch.float32
    gaps, errors = [], []
    for row, recorded in enumerate(sampled.logprobs):
        gaps += (again[row, : len(recorded)] - torch.tensor(recorded)).abs().tolist()
        errors += (exact[row, : len(recorded)] - torch.tensor(recorded)).abs().tolist()
    assert max(errors) > 1e-5, "it was coarse"
    assert sum(gaps) / len(gaps) < COARSE
    assert sum(errors) / len(errors) < COARSE


@pytest.mark.usefixtures("coarsely")
def test_keys_are_kept_in_half_the_memory(
    tiny_policy: Callable[[str], Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[torch.dtype] = set()
    real = PrefixCache.update

    def watched(cache: PrefixCache, *arguments: Any, **others: Any) -> Any:
        done = real(cache, *arguments, **others)
        for layer in cache.keys.values():
            for pair in (layer.common_prefix, layer.prompt_suffix, layer.own):
                seen.update(stored.dtype for stored in pair or ())
        return done

    monkeypatch.setattr(PrefixCache, "update", watched)
    sampled = sample(tiny_policy("llama"), PROMPTS, samples=2, settings=SETTINGS, seed=0)
    assert sampled.decoder == "shared"
    assert seen == {torch.bfloat16}


@pytest.mark.slow
@pytest.mark.usefixtures("coarsely")
@pytest.mark.parametrize("adapter", [False, True])
def test_the_sampler_casts_each_weight_once(
    adapter: bool, tiny_folder: Callable[[str], Path]
) -> None:
    policy = load_policy(tiny_folder("llama"), name="tiny", device="cpu")
    if adapter:
        add_adapter(policy.model, rank=4, alpha=8, seed=0)
    learning = trainable(policy.model).keys()
    shape = [64, 48]  # of the matrix that leads out of a layer's inner width
    with torch.profiler.profile(record_shapes=True) as watched:
        sampled = sample(policy, PROMPTS, samples=4, settings=SETTINGS, seed=0)
    assert max(map(len, sampled.token_ids)) > 3, "several passes"
    casts = [
        event
        for event in watched.events() or ()
        if event.name == "aten::_to_copy" and event.input_shapes[:1] == [shape]
    ]
    assert len(casts) == 2, "one a layer"
    assert trainable(policy.model).keys() == learning, "as before afterwards"


def gradient(model: Any, *, recompute: bool = False) -> Tensor:
    path = CompletionLogprobs(model)
    if recompute:
        with recomputing_layers(model):
            values = path(model, PROMPTS, COMPLETIONS, 1.0)
    else:
        values = path(model, PROMPTS, COMPLETIONS, 1.0)
    weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad((values * weights).sum(), list(trainable(model).values()))
    assert {part.dtype for part in found} == {torch.float32}
    return torch.cat([part.flatten() for part in found])


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma2"])
def test_gradients_are_float32_and_point_the_same_way(
    architecture: str, tiny_policy: Callable[[str], Policy]
) -> None:
    model = tiny_policy(architecture).model
    exact = gradient(model)
    compute_in(model, torch.bfloat16)
    try:
        coarse, again = gradient(model), gradient(model, recompute=True)
    finally:
        compute_in(model, torch.float32)
    assert not torch.equal(coarse, exact)
    assert torch.cosine_similarity(coarse, exact, dim=0) > 0.999
    torch.testing.assert_close(again, coarse, rtol=1e-3, atol=1e-4)


def learner(
    folder: Path, *, adapter: Adapter = "none", device: str = "cpu", rate: float
) -> Learner:
    policy, reference = (load_policy(folder, name="tiny", device=device) for _ in range(2))
    settings = LearningSettings(adapter=adapter, learning_rate=rate, schedule="constant")
    if adapter == "lora":
        add_adapter(policy.model, rank=4, alpha=8, seed=0)
    reference_model = reference.model if adapter == "none" else None
    return Learner(policy, reference_model, settings, total_steps=6)


@pytest.mark.usefixtures("coarsely")
@pytest.mark.parametrize("adapter", ["none", "lora"])
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_learning_works_and_starts_at_its_reference(
    architecture: str, adapter: Adapter, tiny_folder: Callable[[str], Path]
) -> None:
    made = learner(tiny_folder(architecture), adapter=adapter, rate=1e-2)
    sampled = sample(made.policy, PROMPTS, samples=2, settings=SETTINGS, seed=0)
    first = made.step(PROMPTS, sampled.token_ids, sampled.logprobs, REWARDS)
    assert first.kl_nats == pytest.approx(0.0, abs=1e-6), "both run through the same casts"
    assert first.sampling_gap_nats is not None
    assert first.sampling_gap_nats < COARSE
    assert first.gradient_norm > 0
    for _ in range(3):
        last = made.step(PROMPTS, sampled.token_ids, None, REWARDS)
    assert last.loss < first.loss
    assert last.kl_nats_k3 > 0


@pytest.mark.usefixtures("coarsely")
def test_updates_too_small_for_bfloat16_are_not_lost(
    tiny_folder: Callable[[str], Path],
) -> None:
    made = learner(tiny_folder("llama"), rate=1e-6)
    weight = made.policy.model.get_parameter("model.layers.0.mlp.up_proj.weight")
    before = weight.detach().clone()
    made.step(PROMPTS, COMPLETIONS, None, REWARDS)
    moved = weight != before
    assert moved.float().mean() > 0.9
    would_be_lost = moved & (weight.bfloat16() == before.bfloat16())
    assert would_be_lost.float().mean() > 0.9


@pytest.mark.usefixtures("coarsely")
def test_going_on_from_a_checkpoint_is_still_byte_for_byte(
    tiny_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    first, resumed = (learner(tiny_folder("llama"), rate=1e-3) for _ in range(2))
    first.step(PROMPTS, COMPLETIONS, None, REWARDS)
    first.save(tmp_path / "checkpoint")
    resumed.load(tmp_path / "checkpoint")
    again = [made.step(PROMPTS, COMPLETIONS, None, REWARDS) for made in (first, resumed)]
    assert again[0] == again[1]
    assert digest_of_weights(resumed.policy.model) == digest_of_weights(first.policy.model)


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("adapter", ["none", "lora"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_gpu_samples_and_learns(
    architecture: str, adapter: Adapter, tiny_folder: Callable[[str], Path]
) -> None:
    made = learner(tiny_folder(architecture), adapter=adapter, device="cuda", rate=1e-3)
    assert made.policy.device.type == "cuda"
    sampled = sample(made.policy, PROMPTS, samples=2, settings=SETTINGS, seed=0)
    assert sampled == sample(made.policy, PROMPTS, samples=2, settings=SETTINGS, seed=0)
    first = made.step(PROMPTS, sampled.token_ids, sampled.logprobs, REWARDS)
    assert first.kl_nats == pytest.approx(0.0, abs=1e-3)
    assert first.sampling_gap_nats is not None
    assert first.sampling_gap_nats < COARSE
    assert {value.dtype for value in made.policy.model.parameters()} == {torch.float32}


@pytest.mark.cuda
@needs_gpu
def test_a_gpu_gives_the_numbers_of_the_cpu_up_to_bfloat16(
    tiny_folder: Callable[[str], Path],
) -> None:
    values = []
    for device in ("cpu", "cuda"):
        model = load_policy(tiny_folder("llama"), name="tiny", device=device).model
        with torch.no_grad():
            values.append(CompletionLogprobs(model)(model, PROMPTS, COMPLETIONS, 1.0).cpu())
    assert (values[0] - values[1]).abs().mean() < COARSE


@pytest.mark.cuda
@needs_gpu
def test_a_gpu_goes_on_from_a_checkpoint_of_the_cpu(
    tiny_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    there, here = (learner(tiny_folder("llama"), device=d, rate=1e-3) for d in ("cpu", "cuda"))
    there.step(PROMPTS, COMPLETIONS, None, REWARDS)
    there.save(tmp_path / "checkpoint")
    here.load(tmp_path / "checkpoint")
    assert digest_of_weights(here.policy.model) == digest_of_weights(there.policy.model)
    assert here.step(PROMPTS, COMPLETIONS, None, REWARDS).step == 2


def test_a_head_that_was_exchanged_before_is_put_back(tiny_folder: Callable[[str], Path]) -> None:
    model: Any = load_policy(tiny_folder("llama"), name="tiny", device="cpu").model
    forward = model.lm_head.forward
    model.lm_head.forward = exchanged = lambda hidden: forward(hidden)
    with _precise_head(model):
        assert model.lm_head.forward is not exchanged
        logits = model.lm_head(torch.ones(1, model.config.hidden_size, dtype=torch.bfloat16))
        assert logits.dtype == torch.float32
    assert model.lm_head.forward is exchanged


def test_a_model_without_a_head_has_none_to_exchange(tiny_folder: Callable[[str], Path]) -> None:
    model: Any = load_policy(tiny_folder("llama"), name="tiny", device="cpu").model.model
    with _precise_head(model):
        assert model.get_output_embeddings() is None
