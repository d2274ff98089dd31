"""What goes wrong while the gate measures: what was decided stays, and what was not says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from artifacts.promotion.decisions import CONFIRMS, all_decisions, champion_since_ms
from artifacts.registry.versions import make_champion, registered_version
from artifacts.tracking.connection import TAG, Tracking
from flows.cli.parser import main
from flows.cli.terminal import Terminal
from flows.cli.verbs.loops import run_flow
from flows.eval import eval_flow
from flows.learning import learning_flow
from schemas.config import EvalConfig, LearningConfig
from schemas.errors import InputError
from tasks.runtime.progress import Message
from tasks.runtime.runtime import process_runtime
from tests.flows.conftest import problems_file
from tests.flows.promotion.conftest import COUNT, VERSION, Learn, Run, champion

pytestmark = [pytest.mark.slow, pytest.mark.untraced]
RUN_FLOW = "flows.cli.verbs.past_runs.run_flow"
Before = Callable[[int], None]


@pytest.fixture
def before_evaluation(promote: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[[Before], None]:
    """Do something before each evaluation of the gate, which are counted from 1."""
    count = 0

    def set_up(act: Before) -> None:
        def evaluate(_: object, flow: Any, config: EvalConfig, *__: object, **___: object) -> Any:
            nonlocal count
            count += 1
            act(count)
            return flow.fn(config)

        monkeypatch.setattr(RUN_FLOW, evaluate)

    return set_up


def fails_from(number: int) -> Before:
    def act(count: int) -> None:
        if count >= number:
            raise InputError("no such file", "--dataset sums.jsonl")

    return act


@pytest.mark.parametrize("number", [3, 4])
def test_a_version_that_passed_stays_promoted_where_the_figure_that_decides_nothing_fails(
    learn: Learn,
    promote: Run,
    before_evaluation: Callable[[Before], None],
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    learn(0.25, 0.9)
    before_evaluation(fails_from(number))
    result = promote(VERSION)
    assert (result["promoted"], champion()) == (True, VERSION)
    assert result["gain_missing"] == "--dataset sums.jsonl: no such file"
    assert "gain" not in result
    assert result["fresh_held"]["look"] == 1
    assert main(["show", result["run_id"]]) == 0
    said = capsys.readouterr().out
    assert "not measured once more after it had passed: --dataset sums.jsonl: no such file" in said
    for side in (result["against"], result["candidate"]):
        assert f"threeloops eval --model {side['name']} --seed SEED" in said


def test_what_was_not_told_to_mlflow_breaks_a_decision_off_with_its_true_reason(
    learn: Learn, promote: Run, monkeypatch: pytest.MonkeyPatch, rates: list[float]
) -> None:
    learn(0.25, 0.9)
    refuse_the_second_time(monkeypatch)
    assert main(["promote", VERSION]) == 2
    client, history = process_runtime().archive.tracking.client, process_runtime().archive.history
    (run,) = (run for run in history.mlflow_runs() if CONFIRMS in run.data.tags)
    assert run.info.status == "KILLED"
    assert run.data.tags[f"{TAG}error"] == "InputError: promote: not told everything"
    assert client.get_run(run.info.run_id).info.end_time is not None
    assert champion() is None


def refuse_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow goes away while the gate measures."""
    asked: list[str] = []

    def refuse(_: Tracking, what: str) -> None:
        asked.append(what)
        if len(asked) == 2:
            raise InputError("not told everything", "promote")

    monkeypatch.setattr(Tracking, "refuse_unsent", refuse)


def test_learning_whose_gate_does_not_decide_has_its_result(
    learning_config: LearningConfig,
    rates: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates[:] = [0.25, 0.9]
    refuse_the_second_time(monkeypatch)
    said: list[str] = []
    monkeypatch.setattr("flows.learning.eval_flow", eval_flow.fn)
    small = {"limit": COUNT, "steps": 2, "dataset": "arithmetic", "dev_every": 0}
    small |= {"problems_per_step": 2, "samples": 2}
    with process_runtime().progress.listening(
        lambda event: said.append(event.text) if isinstance(event, Message) else None
    ):
        result = learning_flow.fn(learning_config.model_copy(update=small), promote=True)
    assert result.gate is None
    assert result.model.name == VERSION
    (warning,) = (line for line in said if "did not decide" in line)
    assert "(promote: not told everything); ask it with `threeloops promote models:/thr" in warning


def test_what_stands_in_the_way_before_it_is_measured_costs_no_confirmation(
    learn: Learn, promote: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def silent(*_: object) -> NoReturn:
        raise InputError("nobody answers there", "PREFECT_API_URL=http://127.0.0.1:9/api")

    learn(0.25, 0.9)
    with monkeypatch.context() as patched:
        patched.setattr("flows.cli.verbs.past_runs.start_prefect", silent)
        assert main(["promote", VERSION]) == 2
    assert "nobody answers there" in capsys.readouterr().err
    assert all_decisions(process_runtime().archive.history) == []
    assert promote(VERSION)["fresh_held"]["look"] == 1


def test_a_flow_is_a_plain_call_once_prefects_server_has_gone(
    eval_config: EvalConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object) -> NoReturn:
        raise InputError("nobody answers there", "PREFECT_API_URL")

    monkeypatch.setattr("flows.orchestration.own_server.start_own_server", silent)
    runtime = process_runtime()
    terminal = Terminal(as_json=True)
    with pytest.raises(InputError, match="nobody answers"):
        run_flow(runtime, lambda config: config.seed, eval_config, terminal)
    monkeypatch.setattr(runtime.side_channel, "gone", True)
    assert run_flow(runtime, lambda config: config.seed, eval_config, terminal) == eval_config.seed


def test_a_champion_that_changed_while_it_was_measured_is_not_replaced(
    learn: Learn, promote: Run, before_evaluation: Callable[[Before], None]
) -> None:
    learn(0.25, 0.75)
    learn(0.25, 0.9, seed=1)

    def by_hand(count: int) -> None:
        archive = process_runtime().archive
        make_champion(archive, registered_version(archive, VERSION))

    before_evaluation(by_hand)
    (reason,) = promote("models:/threeloops/2", code=1)["reasons"]
    assert reason.startswith(f"while it was measured, {VERSION} was made the champion in place of")
    assert champion() == VERSION


def test_problems_that_were_exchanged_after_the_evidence_confirm_nothing(
    learn: Learn, promote: Run, before_evaluation: Callable[[Before], None], tmp_path: Path
) -> None:
    rows = [
        {"id": str(n), "prompt": f"{n} + 1?", "expected_answer": n + 1, "split": split}
        for n, split in enumerate(["train"] * 4 + ["holdout"] * COUNT)
    ]
    path = problems_file(tmp_path, *rows)
    learn(0.25, 0.9, dataset=path)

    def exchange(count: int) -> None:
        Path(path).write_text(Path(path).read_text().replace(" + 1?", " + 1 = "))

    before_evaluation(exchange)
    (reason,) = promote(VERSION, code=1)["reasons"]
    assert "the dataset, template or scorer has changed since the evidence was made" in reason
    assert champion() is None


def test_the_promotion_of_a_champion_that_was_killed_is_recorded_before_another_is_asked_about(
    learn: Learn, promote: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    learn(0.25, 0.5)
    with monkeypatch.context() as patched:
        patched.setattr("artifacts.promotion.decisions.settle", killed)
        assert main(["promote", VERSION]) == 130
    assert champion() == VERSION
    learn(0.25, 0.9, seed=1)
    result = promote("models:/threeloops/2")
    assert (result["promoted"], result["against"]["name"]) == (True, VERSION)
    archive = process_runtime().archive
    decided = [one.candidate for one in all_decisions(archive.history)]
    assert decided == ["models:/threeloops/2", VERSION]
    assert champion_since_ms(archive, registered_version(archive, VERSION)) > 0
