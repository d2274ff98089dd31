"""One policy and one learner are in memory; anything else is loaded again or refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from policy.model.adapter import is_adapted
from policy.model.load import Policy, load_policy
from policy.model.precision import arithmetic_of
from schemas.config import Compute, LearningConfig, LearningSettings
from schemas.errors import StoreError
from schemas.references import PolicyRef
from tasks.runtime.model_cache import ModelCache
from tasks.runtime.runtime import Runtime

CPU = Compute(device="cpu", precision="float32")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the policies that were loaded from their folders."""
    names: list[str] = []

    def counted(folder: Path, *, name: str, **others: Any) -> Policy:
        names.append(name)
        return load_policy(folder, name=name, **others)

    monkeypatch.setattr("tasks.runtime.model_cache.load_policy", counted)
    return names


@pytest.fixture
def models(runtime: Runtime) -> ModelCache:
    return runtime.models


@pytest.fixture
def other(runtime: Runtime, tiny: str, tmp_path: Path) -> PolicyRef:
    folder = Path(shutil.copytree(tiny, tmp_path / "other"))
    (folder / "added_tokens.json").write_text("{}")
    return PolicyRef(name="other", digest=runtime.archive.folders.digest(folder))


def test_a_policy_of_one_precision_does_not_answer_for_the_other(
    models: ModelCache, policy: PolicyRef
) -> None:
    """A worker outlives a command, and the key of a table names what was asked for."""
    coarse = CPU.model_copy(update={"precision": "bfloat16"})
    first = models.policy(policy, CPU)
    second = models.policy(policy, coarse)
    assert second is not first
    assert arithmetic_of(second.model).dtype == torch.bfloat16
    assert models.policy(policy, coarse) is second
    assert arithmetic_of(models.policy(policy, CPU).model).dtype == torch.float32


def test_a_policy_is_loaded_once_until_another_takes_its_place(
    models: ModelCache, policy: PolicyRef, other: PolicyRef, loaded: list[str]
) -> None:
    first = models.policy(policy, CPU)
    assert models.policy(policy, CPU) is first
    assert (first.digest, first.name) == (policy.digest, "tiny")
    models.policy(other, CPU)
    assert models.policy(policy, CPU) is not first
    assert loaded == ["tiny", "other", "tiny"]


def test_a_policy_whose_folder_is_not_known_is_refused(models: ModelCache) -> None:
    with pytest.raises(StoreError, match="not known on this machine"):
        models.policy(PolicyRef(name="gone", digest="0" * 64), CPU)


def test_a_policy_whose_files_have_changed_is_not_taken_for_what_it_was(
    runtime: Runtime, models: ModelCache, other: PolicyRef
) -> None:
    weights = runtime.archive.folders.find(other) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(StoreError, match=r"^other: the model in .* was changed while it was used"):
        models.policy(other, CPU)


def test_a_learner_has_weights_of_its_own_beside_its_reference(
    models: ModelCache, policy: PolicyRef, config: LearningConfig, loaded: list[str]
) -> None:
    learner = models.start_learner(policy, config)
    assert learner.reference_model is models.policy(policy, CPU).model
    assert learner.policy.model is not learner.reference_model
    assert loaded == ["tiny", "tiny"]


def test_an_adapter_shares_the_weights_and_the_start_is_loaded_anew(
    models: ModelCache, policy: PolicyRef, config: LearningConfig, loaded: list[str]
) -> None:
    adapted = config.model_copy(update={"learning": LearningSettings(adapter="lora")})
    learner = models.start_learner(policy, adapted)
    assert learner.reference_model is None
    assert is_adapted(learner.policy.model)
    assert not is_adapted(models.policy(policy, CPU).model)
    assert loaded == ["tiny", "tiny"]


def test_the_learner_is_held_under_the_step_that_it_reached_last(
    models: ModelCache, policy: PolicyRef, config: LearningConfig
) -> None:
    learner = models.start_learner(policy, config)
    one, two = (PolicyRef(name="tiny", digest=digest, step=1) for digest in ("a", "b"))
    models.keep_learner(one, learner)
    assert models.policy(one, CPU) is learner.policy
    models.keep_learner(two, learner)
    assert models.learner(two) is learner
    with pytest.raises(StoreError, match="tiny: the learner at step 1 is not in this process"):
        models.learner(one)


def test_what_is_forgotten_is_loaded_again(
    models: ModelCache, policy: PolicyRef, config: LearningConfig, loaded: list[str]
) -> None:
    models.policy(policy, CPU)
    reached = PolicyRef(name="tiny", digest="a", step=1)
    models.keep_learner(reached, models.start_learner(policy, config))
    models.forget()
    with pytest.raises(StoreError):
        models.policy(reached, CPU)
    loaded.clear()
    models.policy(policy, CPU)
    assert loaded == ["tiny"]
