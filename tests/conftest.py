"""What every test shares: a data folder of its own, and one result of each loop to show."""

from __future__ import annotations

import base64
import gzip
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import coverage
import pytest

from artifacts.store.data_dir import DataDir, current_data_dir
from artifacts.store.shared.objects import VARIABLE as STORE
from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import Tracking
from artifacts.tracking.named import EXPERIMENT_NAME, REGISTRY_AT, SERVER, TRACKING
from policy.model.tiny import make_tiny_model
from schemas.config import (
    EvalConfig,
    LearningConfig,
    SamplingSettings,
    SelectionConfig,
    SelectionRule,
)
from schemas.instrument import Instrument
from schemas.loops import EVALUATION, LEARNING, SELECTION, Loop
from schemas.measurements import ConstantAnswer, Estimate, Gain, SelectedRate, Summary
from schemas.result_parts import (
    BestOfN,
    DevRate,
    FailureExample,
    FailureGroup,
    InstrumentRecord,
    LearnedModel,
    LearningMetrics,
    ModelRecord,
    Rates,
    SelectionMetrics,
)
from schemas.results import EvalResult, LearningResult, SelectionResult

# `auto` is then float32 on every processor, and figures do not depend on where tests run
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI")
TRACING = "COVERAGE_PROCESS"  # what tells a new process to count its lines begins with this
SERVERS = {"prefect_server", "running", "tab", "browser"}
# the real model, and learning runs, which take seconds each
SLOW = {"default_folder", "default_policy", "learning_config", "learned", "learned_run"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a server or take long, by their fixtures, so none is forgotten."""
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        if used & SERVERS:
            item.add_marker(pytest.mark.server)
        if used & SLOW:
            item.add_marker(pytest.mark.slow)


@contextmanager
def untraced() -> Iterator[None]:
    """Count no line of what runs inside, here or in a process that it starts.

    Up to Python 3.11 a process that is traced takes one and a half times as long, though it runs
    little of ours.
    """
    measured = coverage.Coverage.current()
    if measured is None:
        yield
        return
    given = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(TRACING)}
    measured.stop()
    try:
        yield
    finally:
        measured.start()
        os.environ.update(given)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Trace no test that is marked so, nor the fixtures that are made for it."""
    if item.get_closest_marker("untraced") is None:
        return (yield)
    with untraced():
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Keep what a worker of xdist has counted: one that takes ten seconds to end is killed."""
    measured = coverage.Coverage.current()
    if measured is not None and "PYTEST_XDIST_WORKER" in os.environ:
        measured.stop()
        measured.save()


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataDir:
    """An empty data folder for one test."""
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "home"))
    return current_data_dir()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny random model."""
    return str(make_tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs: making one takes seconds, copying it takes none."""
    data_dir = DataDir(tmp_path_factory.mktemp("mlflow"))
    Tracking(data_dir).client.search_experiments()
    return data_dir.root / "mlflow.db"


@pytest.fixture
def archive(data_dir: DataDir, empty_database: Path) -> Archive:
    """What one test keeps, with an MLflow database that is ready."""
    shutil.copy(empty_database, data_dir.root)
    return Archive(data_dir)


@pytest.fixture
def rows_in() -> Callable[[str], dict[str, Any]]:
    """What a report carries for its tables: a function from the page's text to its columns."""

    def unpacked(page: str) -> dict[str, Any]:
        (packed,) = re.findall(r'id="rows">([^<]*)<', page)
        return dict(json.loads(gzip.decompress(base64.b64decode(packed))))

    return unpacked


@pytest.fixture(autouse=True)
def _no_real_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "home"))
    for name in (SERVER, TRACKING, REGISTRY_AT, EXPERIMENT_NAME, STORE):
        monkeypatch.delenv(name, raising=False)


def estimate(value: float, low: float, high: float, problems: int = 3) -> Estimate:
    """A rate of three samples a problem."""
    return Estimate(value=value, low=low, high=high, problems=problems, completions=3 * problems)


def summary(rate: Estimate) -> Summary:
    """Two of three samples form well; one family has the name of a rate, the other has markup."""
    at_2 = estimate(0.6, 0.2, 0.9)
    return Summary(
        samples=3,
        pass_rate=rate,
        pass_at_k={1: rate, 2: at_2},
        valid_format_rate=estimate(2 / 3, 0.3, 0.9),
        mean_reward=rate,
        outcomes={"correct": 3, "wrong_answer": 3, "bad_format": 2, "truncated": 1},
        codes={"exact": 3, "other_integer": 3, "empty": 2, "cut_off": 1},
        families={"<u>sums</u>": estimate(1 / 3, 0.1, 0.7), "pass@1": estimate(0.5, 0.2, 0.8, 2)},
        control={},
        best_constant=ConstantAnswer(answer="3", rate=1 / 3, correct=1, problems=3),
    )


def head(loop: Loop) -> dict[str, Any]:
    """What the result of a loop begins with."""
    instrument = Instrument(
        dataset="a" * 64,
        split="holdout",
        prompt_template=f"few_shot_chat@1:{'b' * 64}",
        scorer=f"final_int@1:{'f' * 64}",
        sampling="{}",
    )
    example = FailureExample(problem="p", prompt="1 + 2?", expected="3", completion="<b>4\n")
    return {
        "run_id": "0123456789abcdef",
        "loop_name": loop.name,
        "changed": loop.changed,
        "instrument": InstrumentRecord(digest="e" * 64, parts=instrument),
        "outcomes": summary(estimate(1 / 3, 0.1, 0.7)).outcomes,
        "failures": (
            FailureGroup(
                outcome="wrong_answer", code="other_integer", completions=3, example=example
            ),
        ),
        "tables": {},
        "samples": 3,
    }


@pytest.fixture
def rates() -> Callable[..., Rates]:
    """A function from a pass rate and its interval to all the rates of a measurement."""
    return lambda value, low, high: Rates.of(summary(estimate(value, low, high)))


@pytest.fixture
def evaluation(rates: Callable[..., Rates]) -> EvalResult:
    """A result of loop A: three problems, nine answers, three of them right."""
    return EvalResult(
        **head(EVALUATION),
        **dict(rates(1 / 3, 0.1, 0.7)),
        model=ModelRecord(name="<i>mine</i>", digest="d" * 64, folder=None),
        config=EvalConfig(seed=5, samples=3, sampling=SamplingSettings(temperature=0.5)),
    )


@pytest.fixture
def selection(rates: Callable[..., Rates]) -> SelectionResult:
    """A result of loop B: the oracle and the majority picked one of three samples."""
    measured = rates(1 / 3, 0.1, 0.7)
    values: dict[SelectionRule, float] = {"oracle": 0.8, "majority": 0.4}
    selected = {
        rule: SelectedRate(
            rule=rule,
            rate=estimate(value, value - 0.2, value + 0.1),
            gain=Gain(value=value - 1 / 3, low=0.0, high=0.5),
            rate_over_ties=estimate(value, value - 0.2, value + 0.1),
            problems_with_ties=3,
            problems_contested=2,
        )
        for rule, value in values.items()
    }
    return SelectionResult(
        **head(SELECTION),
        **dict(measured)
        | {
            "metrics": SelectionMetrics(
                **dict(measured.metrics),
                pass_at_1=1 / 3,
                selected_pass_rate={rule: picked.rate.value for rule, picked in selected.items()},
            )
        },
        model=ModelRecord(name="<i>mine</i>", digest="d" * 64, folder=None),
        config=SelectionConfig(samples=3),
        selected=selected,
        best_of_n=BestOfN(
            samples=3, divergence_nats=estimate(0.4, 0.3, 0.5), bound_nats=math.log(3) - 2 / 3
        ),
    )


@pytest.fixture
def learning(rates: Callable[..., Rates]) -> LearningResult:
    """A result of loop C: two steps from 20 % to 50 %, with a KL that rounds to a negative zero."""
    dev = estimate(0.25, 0.1, 0.4)
    return LearningResult(
        **head(LEARNING),
        model=LearnedModel(
            name="models:/threeloops/1", digest="d" * 64, folder="/m", started_from="default"
        ),
        metrics=LearningMetrics(
            pass_rate_before=0.2,
            pass_rate_after=0.5,
            kl_nats=-0.001,
            steps=2,
            wall_seconds=7.4,
            seconds_per_step=1.2,
            problems=3,
            completions=9,
        ),
        config=LearningConfig(steps=2),
        kl_nats=estimate(-0.001, -0.2, 0.3),
        dev=(DevRate(step=0, **dict(dev)), DevRate(step=2, **dict(dev))),
        before=rates(0.2, 0.1, 0.4),
        after=rates(0.5, 0.3, 0.7),
        outcomes_before={"correct": 2, "wrong_answer": 7},
    )
