"""The comparisons on a GPU: what is measured, here on the CPU where there is none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import __main__ as program
from bench import agreement, sampler, train_step
from bench.plan import quick_gpu_plan, without_trl
from policy.model.tiny import make_tiny_model

ROOT = Path(__file__).resolve().parents[2]
SHAPE: dict[str, Any] = {"problem_count": 2, "samples": 3, "new_tokens": 4, "seed": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture
def coarsely(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU computes as a GPU would, but for the peak: some CPUs take minutes for that."""
    monkeypatch.setattr("bench.workload.precision_on", lambda device: "bfloat16")


def test_float32_agrees_with_itself(folder: str) -> None:
    found = agreement.measure(folder, **SHAPE)
    assert found["tokens"] >= 6
    assert 0 <= found["sampler_mean_nats"] <= found["sampler_largest_nats"] < 1e-4
    assert 0 <= found["learner_mean_nats"] <= found["learner_largest_nats"] < 1e-4


@pytest.mark.usefixtures("coarsely")
def test_bfloat16_is_compared_with_float32(folder: str) -> None:
    found = agreement.measure(folder, **SHAPE)
    for side in ("sampler", "learner"):
        assert 1e-5 < found[f"{side}_mean_nats"] < 0.05


@pytest.mark.usefixtures("coarsely")
def test_generate_has_its_model_in_the_type_of_the_products(folder: str) -> None:
    seen: set[torch.dtype] = set()

    def watch(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: object) -> None:
        if isinstance(module, torch.nn.Linear):
            seen.add(inputs[0].dtype)

    hook = torch.nn.modules.module.register_module_forward_hook(watch)
    try:
        sampler.measure("generate", folder, **SHAPE)
    finally:
        hook.remove()
    assert seen == {torch.bfloat16}


@pytest.mark.usefixtures("coarsely")
def test_a_step_says_what_its_check_of_the_sampler_read(folder: str) -> None:
    found = train_step.measure(folder, **SHAPE, steps=2)
    assert len(found["sampling_gap_nats"]) == 2
    assert all(1e-5 < gap < found["largest_gap_nats"] == 0.1 for gap in found["sampling_gap_nats"])


def test_the_plan_measures_agreement_and_every_pair_on_the_gpu() -> None:
    jobs = [job for series in quick_gpu_plan("m") for job in series.jobs]
    assert {job.parameters["device"] for job in jobs} == {"cuda"}
    labels = [job.label for job in jobs]
    assert labels[:3] == ["agreement", "step ours", "step TRL"]
    ours = [job.label for series in without_trl(quick_gpu_plan("m")) for job in series.jobs]
    assert ours == [label for label in labels if "TRL" not in label]


def _bench_on_gpu(output: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--only", "gpu", "--output", str(output)],
        cwd=ROOT,
        env=os.environ | {"THREELOOPS_HOME": str(output / "home")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_report_to_add_to_nothing_is_measured(tmp_path: Path) -> None:
    done = _bench_on_gpu(tmp_path)
    assert done.returncode == 1
    assert "there is no report to add to" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_report_stays_as_it_was(tmp_path: Path) -> None:
    shutil.copy(ROOT / "docs" / "benchmarks.json", tmp_path)
    done = _bench_on_gpu(tmp_path)
    assert (done.returncode, done.stderr.splitlines()) == (
        1,
        ["there is no CUDA device here, so nothing can be measured on one"],
    )
    assert not (tmp_path / "benchmarks.md").exists()


@pytest.mark.parametrize("gpu", ["A100", None])
def test_the_whole_bench_measures_the_gpu_that_is_there(
    gpu: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[dict[str, Any]] = []
    monkeypatch.setattr(program, "_measure", lambda *_: {"gpu": gpu, "failed": []})
    monkeypatch.setattr(program, "_measure_gpu", lambda *_: {"machine": "there"})
    monkeypatch.setattr(program, "write_report", lambda found, _: written.append(found))
    monkeypatch.setattr(sys, "argv", ["bench", "--output", str(tmp_path)])
    assert program.main() == 0
    (found,) = written
    assert found.get("on_gpu") == ({"machine": "there"} if gpu else None)


@pytest.mark.slow
@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_adds_its_section(tmp_path: Path) -> None:
    shutil.copy(ROOT / "docs" / "benchmarks.json", tmp_path)
    done = _bench_on_gpu(tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "benchmarks.json").read_text(encoding="utf-8"))["on_gpu"]
    assert found["gpu"] == torch.cuda.get_device_name()
    timed = [record for record in found["records"] if record["label"] != "agreement"]
    assert all(record["peak_device_memory_bytes"] > 0 for record in timed)
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert f"| GPU | {found['gpu']} |" in page.split("## On a GPU")[1]
