"""Learning that goes wrong stops, says why, keeps the last good policy and registers nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from artifacts.registry.versions import registered_versions
from artifacts.store.checkpoints import newest_checkpoint
from artifacts.store.data_dir import current_data_dir
from artifacts.tracking.history import RunRecord
from flows.learning import learning_flow
from policy.learning.guard import KlLimitError, NonFiniteError
from policy.learning.learner import Learner
from policy.sampling.sample import sample
from schemas.config import LearningConfig
from schemas.errors import StoppedError
from schemas.references import PolicyRef
from schemas.results import LearningResult
from tasks.divergence import divergence
from tasks.runtime.runtime import process_runtime
from tasks.train_step import train_step
from tests.data_folder import all_runs, stored
from tests.policy.weights import digest_of_weights

pytestmark = [pytest.mark.slow, pytest.mark.untraced]


@pytest.fixture
def config(learning_config: LearningConfig) -> LearningConfig:
    """Six steps with a checkpoint after the third: neither before nor after a good policy."""
    return learning_config.model_copy(update={"steps": 6, "checkpoint_every": 3})


@pytest.fixture
def each_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Learner], object]], None]:
    """Call something with the learner before each of its steps."""

    def install(hook: Callable[[Learner], object]) -> None:
        real = Learner.step

        def step(learner: Learner, *arguments: Any, **more: Any) -> Any:
            hook(learner)
            return real(learner, *arguments, **more)

        monkeypatch.setattr(Learner, "step", step)

    return install


def versions() -> list[str]:
    """Every version in the registry."""
    return registered_versions(process_runtime().archive)


def stopped(config: LearningConfig, kind: type[StoppedError]) -> tuple[StoppedError, RunRecord]:
    """Learn until it is stopped; what every stop has in common is checked here."""
    with pytest.raises(kind) as caught:
        learning_flow.fn(config)
    stop, (run,) = caught.value, all_runs()
    assert "\n" not in str(stop)
    assert "no version was registered" in str(stop)
    assert run.status == "FAILED"
    assert str(stop) in run.tags["error"]
    assert run.tags["stopped_at_step"] == str(stop.step)
    assert versions() == []
    assert not list(current_data_dir().run_artifacts.rglob("*.safetensors"))
    return stop, run


def kept(config: LearningConfig, run: RunRecord) -> Learner:
    """The learner that the kept checkpoint loads into, in a process that holds nothing."""
    found = newest_checkpoint(current_data_dir(), run.run_id)
    folder, policy, newest = found.folder, found.record.policy, found.record.training
    assert run.tags["last_good_step"] == str(policy.step)
    training = stored().read(stored().lookup(*run.table_refs()["training"]))
    assert training["step"].to_pylist() == list(range(1, policy.step + 1))
    assert training["step_digest"].to_pylist()[-1] == newest.digest
    process_runtime().models.forget()
    reference = PolicyRef(name=policy.name, digest=run.tags["model_digest_before"])
    learner = process_runtime().models.start_learner(reference, config)
    learner.load(folder / "learner")
    assert learner.steps_done == policy.step
    return learner


def test_an_infinite_gradient_keeps_the_policy_before_the_step(
    config: LearningConfig,
    each_step: Callable[[Callable[[Learner], object]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digests: dict[int, str] = {}
    sampled: list[int] = []

    def counted(*arguments: Any, **named: Any) -> Any:
        sampled.append(1)
        return sample(*arguments, **named)

    monkeypatch.setattr("engines.in_process.sample", counted)

    def spoil(learner: Learner) -> None:
        digests[learner.steps_done] = digest_of_weights(learner.policy.model)
        if learner.steps_done == 4:
            weight = next(learner.policy.model.parameters())
            weight.register_hook(lambda gradient: gradient * float("inf"))

    each_step(spoil)
    stop, run = stopped(config, NonFiniteError)
    assert (stop.step, stop.last_good) == (5, 4)
    assert "gradient norm" in str(stop)
    assert str(newest_checkpoint(current_data_dir(), run.run_id).folder) in str(stop)
    assert digest_of_weights(kept(config, run).policy.model) == digests[4]
    # before, dev after 0, 2 and 4, and five steps: the fourth was made again of what it had sampled
    assert len(sampled) == 1 + 3 + 5


def test_a_loss_that_is_not_finite_goes_back_to_the_policy_that_still_had_one(
    config: LearningConfig, each_step: Callable[[Callable[[Learner], object]], None]
) -> None:
    digests: dict[int, str] = {}

    def spoil(learner: Learner) -> None:
        digests.setdefault(learner.steps_done, digest_of_weights(learner.policy.model))
        if learner.steps_done == 4:
            with torch.no_grad():
                next(learner.policy.model.parameters()).fill_(float("nan"))

    each_step(spoil)
    stop, run = stopped(config, NonFiniteError)
    assert (stop.step, stop.last_good) == (5, 3)
    assert digest_of_weights(kept(config, run).policy.model) == digests[3]


@pytest.mark.usefixtures("prefect_server")
def test_kl_above_the_limit_goes_back_to_the_last_policy_within_it(
    config: LearningConfig, each_step: Callable[[Callable[[Learner], object]], None]
) -> None:
    digests: dict[int, str] = {}
    each_step(
        lambda learner: digests.setdefault(
            learner.steps_done, digest_of_weights(learner.policy.model)
        )
    )
    free = learning_flow.fn(config)
    kl = _mean_kl_nats(free)
    first = next(i for i in range(2, 6) if kl[i] > max(kl[:i]))
    limit = (kl[first] + max(kl[:first])) / 2
    after_free_run = len(all_runs())
    guarded = config.model_copy(update={"max_kl_nats": limit, "register_as": "guarded"})
    process_runtime().models.forget()
    with pytest.raises(KlLimitError) as caught:
        learning_flow(guarded)
    stop, run = caught.value, all_runs()[0]
    assert len(all_runs()) == after_free_run + 1
    assert (stop.step, stop.last_good) == (first + 1, first - 1)
    assert (run.status, run.tags["stopped_at_step"]) == ("FAILED", str(first + 1))
    assert [name for name in versions() if "guarded" in name] == []
    assert digest_of_weights(kept(guarded, run).policy.model) == digests[first - 1]
    process_runtime().models.forget()
    relaxed = guarded.model_copy(update={"max_kl_nats": None})
    resumed = learning_flow.fn(relaxed, resume=run.run_id)
    assert resumed.model.digest == free.model.digest


def test_a_resumed_run_with_a_lower_limit_goes_back_before_its_oldest_checkpoint(
    config: LearningConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    kl = _kl_nats(learning_flow.fn(config))

    def cut_off(policy: Any, *arguments: Any) -> Any:
        if policy.step == 3:
            raise KeyboardInterrupt
        return train_step(policy, *arguments)

    monkeypatch.setenv("THREELOOPS_HOME", f"{current_data_dir().root}-other")
    with monkeypatch.context() as patched:
        patched.setattr("flows.learning_steps.train_step", cut_off)
        with pytest.raises(KeyboardInterrupt):
            learning_flow.fn(config)
    process_runtime().models.forget()
    run = all_runs()[0]
    limit = (kl[1] + kl[2]) / 2
    assert kl[1] < limit < sum(kl[1:4]) / 3, "policy 1 is within it, and the mean at step 4 is not"
    lowered = config.model_copy(update={"max_kl_nats": limit})
    with pytest.raises(KlLimitError) as caught:
        learning_flow.fn(lowered, resume=run.run_id)
    run = all_runs()[0]
    assert (caught.value.step, caught.value.last_good) == (4, 1)
    assert (run.tags["stopped_at_step"], run.tags["last_good_step"]) == ("4", "1")
    assert kept(lowered, run).steps_done == 1


def test_where_kl_is_limited_every_checkpoint_that_may_be_gone_back_to_stays(
    config: LearningConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.learning.drop_checkpoints", lambda *_, keep: None)
    limited = config.model_copy(update={"checkpoint_every": 2, "max_kl_nats": 1e6, "steps": 12})
    result = learning_flow.fn(limited)
    folder = newest_checkpoint(current_data_dir(), result.run_id).folder.parent
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["step-000004", "step-000006", "step-000008", "step-000010"]


def test_a_first_step_that_destroys_the_policy_leaves_the_start(config: LearningConfig) -> None:
    settings = config.learning.model_copy(update={"learning_rate": 1e30})
    stop, run = stopped(config.model_copy(update={"learning": settings}), NonFiniteError)
    assert (stop.step, stop.last_good) == (1, 0)
    assert "the one it started from" in str(stop)
    assert "--learning-rate" in str(stop)
    assert "training" not in run.table_refs()


def test_a_last_step_that_goes_too_far_is_not_registered(
    config: LearningConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def far(*arguments: Any) -> Any:
        return divergence(*arguments).model_copy(update={"value": 99.0})

    monkeypatch.setattr("flows.learning.divergence", far)
    stop, run = stopped(config.model_copy(update={"max_kl_nats": 50.0}), KlLimitError)
    assert (stop.step, stop.last_good) == (6, 5)
    assert kept(config, run).steps_done == 5


def test_a_checkpoint_is_kept_until_the_one_after_is_known_to_be_good(
    config: LearningConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.learning.drop_checkpoints", lambda *_, keep: None)
    result = learning_flow.fn(config.model_copy(update={"checkpoint_every": 1}))
    folder = newest_checkpoint(current_data_dir(), result.run_id).folder.parent
    assert sorted(path.name for path in folder.iterdir()) == ["step-000004", "step-000005"]


@pytest.mark.usefixtures("prefect_server")
def test_a_stop_is_one_line_and_exit_1_and_a_higher_limit_goes_on(
    config: LearningConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.cli.parser import main
    from flows.cli.verbs import loops as verbs

    monkeypatch.setattr(verbs, "configure_prefect", lambda data_dir: None)
    kl = _mean_kl_nats(learning_flow.fn(config))
    first = next(i for i in range(2, 6) if kl[i] > max(kl[:i]))
    limit = (kl[first] + max(kl[:first])) / 2
    arguments = ["learn", "--model", config.model, "--dataset", config.dataset, "--limit", "4"]
    numbers = {
        "steps": 6, "problems-per-step": 4, "samples": 8, "evaluation-samples": 2,
        "max-new-tokens": 6, "learning-rate": 1e-3, "kl-weight": 0.1, "max-kl": limit,
    }  # fmt: skip
    arguments += [f"--{name}={value}" for name, value in numbers.items()]
    capsys.readouterr()
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    said = [line for line in captured.err.splitlines() if line.startswith("threeloops: ")]
    assert len(said) == 1
    assert f"learning stopped at step {first + 1}: KL to the start" in said[0]
    run = all_runs()[0]
    assert main(["learn", "--resume", run.run_id, "--max-kl", "1e6"]) == 0
    assert len(versions()) == 2


def _mean_kl_nats(result: LearningResult) -> list[float]:
    """What is held to the limit before each step: the mean over it and up to four before.

    The first step reads its own reference, and is in no mean but its own.
    """
    kl = _kl_nats(result)
    windows = [kl[max(1, i - 4) : i + 1] or kl[:1] for i in range(len(kl))]
    return [sum(window) / len(window) for window in windows]


def _kl_nats(result: LearningResult) -> list[float]:
    """KL to the start before each step, in nats a completion."""
    training = stored().lookup("training", Path(result.tables["training"]).stem)
    return list(stored().read(training)["kl_nats"].to_pylist())
