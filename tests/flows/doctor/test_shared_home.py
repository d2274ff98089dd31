"""A data folder with a shared store, an adapter's run and an own template, sound and broken."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifacts.store.data_dir import DataDir, current_data_dir, private_files
from artifacts.store.shared.lease import Written
from artifacts.store.shared.objects import VARIABLE
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from flows.cli.parser import main
from flows.learning import learning_flow
from schemas.config import LearningConfig, LearningSettings, SamplingSettings
from schemas.identity import file_digest
from tasks.runtime.runtime import process_runtime
from tests.flows.doctor.test_doctor import OF_THE_MACHINE

pytestmark = pytest.mark.slow

Ask = Callable[..., tuple[int, dict[str, Any]]]
TEMPLATE = """name: brief
version: 1
form: chat
instruction: "{question}"
examples:
  - question: 20 + 30?
    answer: "Final: 50"
"""


@pytest.fixture(scope="module")
def learned_there(
    tmp_path_factory: pytest.TempPathFactory, tiny: str, small_sums: str, empty_database: Path
) -> Path:
    """A folder with a data folder and a store: an adapter's run with its version and a template."""
    place = tmp_path_factory.mktemp("learned")
    (place / "store").mkdir()
    (place / "brief.yaml").write_text(TEMPLATE)
    with pytest.MonkeyPatch.context() as patch, private_files():
        patch.setenv("THREELOOPS_HOME", str(place / "home"))
        patch.setenv(VARIABLE, (place / "store").as_uri())
        current_data_dir()
        shutil.copy(empty_database, place / "home")
        (place / "home" / "mlflow.db").chmod(0o600)
        learning_flow.fn(
            LearningConfig(
                model=tiny,
                dataset=small_sums,
                template=str(place / "brief.yaml"),
                limit=4,
                steps=2,
                problems_per_step=4,
                samples=8,
                evaluation_samples=2,
                checkpoint_every=1,
                keep_checkpoints=2,
                dev_every=0,
                sampling=SamplingSettings(max_new_tokens=6),
                learning=LearningSettings(adapter="lora", kl_weight=0.1),
            )
        )
        owners = process_runtime().archive.owners
        assert owners is not None
        owners.leave()  # as the end of a command does
    return place


@pytest.fixture
def store(learned_there: Path, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies of both, as the data folder and the store of this test."""
    place = data_dir.root.parent / "store"
    shutil.rmtree(data_dir.root)
    shutil.copytree(learned_there / "home", data_dir.root)
    data_dir.root.chmod(0o700)
    shutil.copytree(learned_there / "store", place)
    monkeypatch.setenv(VARIABLE, place.as_uri())
    assert main(["runs"]) == 0
    return place


def states(*folders: Path) -> dict[str, str]:
    paths = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {str(path): file_digest(path) for path in paths}


def named(output: dict[str, Any], part: str = "findings") -> list[str]:
    return sorted(one["name"] for one in output[part] if one["name"] not in OF_THE_MACHINE)


def run_of(data_dir: DataDir) -> RunRecord:
    (run,) = Archive(data_dir).history.loops()
    return run


def test_a_sound_one_has_no_finding_and_nothing_is_changed(
    store: Path, data_dir: DataDir, ask: Ask
) -> None:
    before = states(data_dir.root, store)
    code, output = ask("doctor")
    assert (code, named(output)) == (0, [])
    checked = output["checked"]
    assert (checked["versions"], checked["runs"], checked["leases"]) == (1, 3, 0)
    assert checked["checkpoints"] > 0
    assert checked["shared"] > 10
    assert output["store"] == f"{VARIABLE}={store.as_uri()}"
    assert states(data_dir.root, store) == before


def test_what_is_broken_here_and_there_is_found_and_what_is_safe_repaired(
    store: Path, data_dir: DataDir, ask: Ask
) -> None:
    run = run_of(data_dir)
    whole = (run.folder / "template.yaml").read_text()
    assert "# brief@1:" in whole
    version = next(data_dir.run_artifacts.glob("models/*/artifacts"))
    for place in (run.folder, version):
        (place / "template.yaml").write_text(whole.replace("20 + 30", "2 + 3"))
    step = sorted((data_dir.checkpoints / run.run_id).iterdir())[-1]
    of_adapter = max((path for path in step.rglob("*") if path.is_file()), key=_size)
    of_adapter.write_bytes(of_adapter.read_bytes()[:-1])
    kind, digest = run.table_refs()["scores_after"]
    (store / "tables" / kind / f"{digest}.parquet").unlink()
    model = _digest_of_version(data_dir)
    (store / "policies" / f"{model}.json").unlink()
    gone = Written(holder=f"{platform.node()} 999999999 5.0", nonce="n")
    (store / "leases" / "run-gone").write_text(gone.model_dump_json())
    shared_step = store / "checkpoints" / run.run_id / step.name
    record = json.loads((shared_step / "checkpoint.json").read_text())
    (shared_step / sorted(record["files"])[0]).unlink()
    before = states(data_dir.root, store)

    code, output = ask("doctor")
    assert (code, named(output)) == (
        1,
        [
            *["changed-template"] * 2,
            "damaged-checkpoint",
            "damaged-in-store",
            "dead-lease",
            *["not-in-store"] * 2,
        ],
    )
    assert states(data_dir.root, store) == before, "looking changes nothing"

    code, output = ask("doctor", "--repair")
    assert (code, named(output)) == (1, ["damaged-in-store", "dead-lease"])
    assert (run.folder / "template.yaml").read_text() == whole
    assert (version / "template.yaml").read_text() == whole
    assert (store / "policies" / f"{model}.json").exists()
    again = ask("doctor", "--repair")[1]
    assert named(again) == ["damaged-in-store", "dead-lease"]
    assert not again.get("repaired"), "a second repair has nothing to do"


def test_a_version_is_whole_again_on_a_machine_that_has_the_store_alone(
    store: Path, data_dir: DataDir, ask: Ask, tmp_path: Path
) -> None:
    """The weights are those of the model with its adapter merged in."""
    for folder in (data_dir.tables, data_dir.checkpoints):
        shutil.rmtree(folder)
    shutil.rmtree(next(data_dir.run_artifacts.glob("models/*/artifacts")))
    assert named(ask("doctor")[1]) == [], "the store has it"
    before = os.umask(0o022)
    try:
        code, shown = ask("export", "models:/threeloops/1", "--to", str(tmp_path / "mine"))
    finally:
        os.umask(before)
    assert (code, (tmp_path / "mine" / "model.safetensors").exists()) == (0, True), shown
    assert not list((tmp_path / "mine").glob("adapter*"))
    assert named(ask("doctor")[1]) == [], "what was fetched is nobody else's"


def _size(path: Path) -> int:
    return path.stat().st_size


def _digest_of_version(data_dir: DataDir) -> str:
    client = Archive(data_dir).tracking.client
    return str(client.get_model_version("threeloops", "1").tags["threeloops.digest"])
