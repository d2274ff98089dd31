"""MLflow goes away while a model learns: its version is registered when MLflow is back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from artifacts.registry.versions import registered_version, registered_versions
from artifacts.store.data_dir import DataDir
from artifacts.tracking.archive import Archive
from artifacts.tracking.logged_models import known_model
from flows.learning import learning_flow
from schemas.config import LearningConfig, LearningSettings, SamplingSettings
from schemas.results import LearningResult
from tasks.runtime.progress import Event, Progress
from tasks.runtime.runtime import process_runtime
from tests.mlflow_server import PASS, REFUSE, Between

pytestmark = pytest.mark.slow
NAME = "learned-while-away"


@pytest.fixture
def config(tiny: str, tmp_path: Path) -> LearningConfig:
    """Loop C in two small steps."""
    sums = [(a, b) for a in range(1, 5) for b in range(1, 5)]
    splits = ["train"] * 8 + ["dev"] * 4 + ["holdout"] * 4
    rows = [
        {"id": f"{a}+{b}", "prompt": f"{a} + {b}?", "expected_answer": a + b, "split": split}
        for (a, b), split in zip(sums, splits, strict=True)
    ]
    path = tmp_path / "problems.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return LearningConfig(
        model=tiny,
        dataset=str(path),
        steps=2,
        problems_per_step=4,
        samples=4,
        evaluation_samples=2,
        dev_every=2,
        register_as=NAME,
        sampling=SamplingSettings(max_new_tokens=6),
        learning=LearningSettings(learning_rate=1e-3, kl_weight=0.1),
    )


@pytest.fixture(autouse=True)
def _models_forgotten() -> Iterator[None]:
    yield
    process_runtime().models.forget()


def test_a_version_gets_its_number_when_mlflow_is_back(
    config: LearningConfig,
    way: Between,
    opened: Callable[[], Archive],
    ended: Callable[[Archive], None],
    data_dir: DataDir,
) -> None:
    def goes_away(event: Event) -> None:
        if isinstance(event, Progress) and event.work == "learning":
            way.decide = lambda path: REFUSE

    runtime = process_runtime()
    assert runtime.data_dir == data_dir
    with runtime.progress.listening(goes_away):
        printed = learning_flow.fn(config, promote=True)
    assert printed.gate is None, "it does not decide without the evidence"
    assert printed.model.name.startswith(f"models:/{NAME}/unsent-")
    assert printed.model.digest is not None

    ended(runtime.archive)
    way.decide = lambda path: PASS
    later = opened()
    run = later.history.find(printed.run_id)
    assert run.status == "FINISHED"
    result = run.result()
    assert isinstance(result, LearningResult)
    assert result.model.name == run.tags["registered"] == f"models:/{NAME}/1"
    assert result.metrics == printed.metrics
    assert registered_versions(later).count(f"models:/{NAME}/1") == 1
    version = registered_version(later, f"models:/{NAME}@candidate")
    assert (version.name, version.run_id) == (result.model.name, run.run_id)
    assert version.intact()
    assert Path(str(result.model.folder)) == version.folder
    model_id = known_model(later.tracking, printed.model.digest)
    assert model_id is not None
    assert model_id in str(version.folder)
    assert "unsent-" not in (run.folder / "result.json").read_text()
    after = [one for one in later.history.every() if one.stage == "after"]
    assert [(one.parent, one.status) for one in after] == [(run.run_id, "FINISHED")]
    assert Path(after[0].parameters["model"]) == version.folder
    later.tracking.refuse_unsent("promote")
