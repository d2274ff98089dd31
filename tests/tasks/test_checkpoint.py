"""Learning is kept and brought back, so that the next step is the same, byte for byte."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifacts.store.checkpoints import checkpoint_folder
from artifacts.store.steps import training_table
from artifacts.tracking.logged_models import model_folder
from artifacts.tracking.run import Place, tracked_run
from policy.model.load import fingerprint, load_policy
from schemas.config import LearningConfig
from schemas.errors import InputError
from schemas.loops import LEARNING
from schemas.measurements import Measurement
from schemas.references import PolicyRef, RunRef, TableRef
from schemas.training import TRAINING
from tasks.checkpoint import checkpoint, restore, save_policy
from tasks.collect_training import collect_training
from tasks.generate import generate
from tasks.runtime.progress import Event, Message
from tasks.runtime.runtime import Runtime
from tasks.score import score
from tasks.train_step import train_step

Step = tuple[PolicyRef, TableRef]


@pytest.fixture
def run(runtime: Runtime, config: LearningConfig) -> Iterator[RunRef]:
    with tracked_run(runtime.archive, LEARNING, config, Place()) as made:
        yield made.reference


@pytest.fixture
def first(measured: Measurement, policy: PolicyRef, config: LearningConfig) -> Step:
    """The policy after its first step, with the step's table."""
    tables = (measured.problems, measured.completions, measured.scores)
    return train_step(policy, *tables, None, config)


def second(first: Step, problems: TableRef, config: LearningConfig) -> Step:
    policy, before = first
    completions = generate(problems, policy, config.generation())
    scores = score(problems, completions, config.scorer)
    return train_step(policy, problems, completions, scores, before, config)


def test_what_was_learned_is_saved_as_a_model_that_loads(
    runtime: Runtime, first: Step, policy: PolicyRef, run: RunRef
) -> None:
    saved = save_policy(first[0], run, "learned")
    folder = model_folder(runtime.archive.tracking, run)
    assert saved == PolicyRef(name="learned", digest=fingerprint(folder))
    assert saved.digest != policy.digest
    assert runtime.archive.folders.find(saved) == folder
    assert load_policy(folder, name="learned", device="cpu").digest == saved.digest


def test_learning_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(
    runtime: Runtime,
    first: Step,
    policy: PolicyRef,
    problems: TableRef,
    run: RunRef,
    config: LearningConfig,
) -> None:
    checkpoint(*first, run)
    without_a_stop = second(first, problems, config)
    runtime.models.forget()
    assert restore(policy, run, config) == first
    assert second(first, problems, config) == without_a_stop


def test_another_start_is_not_the_reference_of_the_run(
    runtime: Runtime, first: Step, tiny: str, run: RunRef, config: LearningConfig, tmp_path: Path
) -> None:
    checkpoint(*first, run)
    folder = Path(shutil.copytree(tiny, tmp_path / "changed"))
    (folder / "added_tokens.json").write_text("{}")
    other = PolicyRef(name="changed", digest=runtime.archive.folders.digest(folder))
    with pytest.raises(InputError, match="--model changed: this is no longer the model"):
        restore(other, run, config)


def test_going_back_before_the_first_checkpoint_is_the_start(
    runtime: Runtime, first: Step, policy: PolicyRef, run: RunRef, config: LearningConfig
) -> None:
    checkpoint(*first, run)
    assert restore(policy, run, config, last=1) == first
    assert restore(policy, run, config, last=0) == (policy, None)
    assert not list(runtime.data_dir.checkpoints.glob("*/step-*")), "later ones are deleted"


def test_a_run_without_a_checkpoint_cannot_be_restored(
    policy: PolicyRef, run: RunRef, config: LearningConfig
) -> None:
    with pytest.raises(InputError, match="the run has no checkpoint"):
        restore(policy, run, config)


def test_learning_goes_on_from_the_older_checkpoint_where_the_newest_is_damaged(
    runtime: Runtime,
    first: Step,
    policy: PolicyRef,
    problems: TableRef,
    run: RunRef,
    config: LearningConfig,
) -> None:
    checkpoint(*first, run)
    newest = second(first, problems, config)
    checkpoint(*newest, run)
    folder = checkpoint_folder(runtime.data_dir, run.run_id, 2)
    weights = folder / "learner" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    runtime.models.forget()
    said: list[Event] = []
    with runtime.progress.listening(said.append):
        assert restore(policy, run, config) == first
        assert second(first, problems, config) == newest
    messages = [event.text for event in said if isinstance(event, Message)]
    assert len(messages) == 1
    assert str(weights) in messages[0]


def test_a_checkpoint_with_a_damaged_table_among_its_steps_is_not_used(
    runtime: Runtime,
    first: Step,
    policy: PolicyRef,
    problems: TableRef,
    run: RunRef,
    config: LearningConfig,
) -> None:
    checkpoint(*first, run)
    newest = second(first, problems, config)
    checkpoint(*newest, run)
    runtime.store.path(newest[1]).write_bytes(b"damaged")
    assert restore(policy, run, config) == first


def test_a_run_that_an_earlier_version_began_goes_on_after_its_training_table(
    runtime: Runtime,
    first: Step,
    policy: PolicyRef,
    problems: TableRef,
    run: RunRef,
    config: LearningConfig,
) -> None:
    (row,) = runtime.archive.steps.rows(first[1])
    rows = training_table((row.model_copy(update={"step_digest": None}),))
    rows = rows.drop_columns(["step_digest"])  # which it did not write
    older = runtime.store.write("training", TRAINING.upgrade(rows), producer="train-step")
    checkpoint(first[0], older, run)
    runtime.models.forget()
    assert restore(policy, run, config) == (first[0], older)
    reached, newest = second((first[0], older), problems, config)
    collected = runtime.store.read(collect_training(newest))
    assert collected["step"].to_pylist() == [1, 2]
    assert collected["step_digest"].to_pylist() == [None, newest.digest]
    assert reached.step == 2
    runtime.store.path(older).unlink()
    with pytest.raises(InputError, match="none of its checkpoints can be used"):
        restore(policy, run, config)


def test_a_run_goes_on_with_other_threads_and_says_so(
    runtime: Runtime,
    first: Step,
    policy: PolicyRef,
    run: RunRef,
    config: LearningConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint(*first, run)
    runtime.models.forget()
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    said: list[Event] = []
    with runtime.progress.listening(said.append):
        assert restore(policy, run, config) == first
    (message,) = [event.text for event in said if isinstance(event, Message)]
    assert "7 threads" in message
