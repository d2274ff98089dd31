"""The page says what was missed, and its ratios are of pairs; a GPU has a section of its own."""

from __future__ import annotations

from typing import Any

from bench.report import render


def _record(label: str, **found: Any) -> dict[str, Any]:
    shape = {"problem_count": 8, "samples": 8}
    return {"label": label, "parameters": shape, "other_cores_busy": 0.01} | found


def _step(label: str, seconds: float, gigabytes: float) -> dict[str, Any]:
    return _record(
        label,
        seconds_per_step=seconds,
        peak_memory_bytes=gigabytes * 1e9,
        seconds=[9.0, seconds],
        operations_per_second_plain=6e10,
        operations_per_second_distinct=4e10,
        fraction_of_peak_plain=0.61,
        fraction_of_peak_distinct=0.41,
        peak_operations_per_second=1e11,
        loss_type="dapo",
        scale_rewards="group",
        gradient_checkpointing=True,
    )


def _page(*records: dict[str, Any], busy: float = 0.0, **others: Any) -> str:
    machine = {"cpu": "a", "cores": 2, "widest_instructions": "AVX2", "memory_gib": 8}
    return render(
        {
            "date": "today",
            "machine": machine,
            "versions": {"python": "3.11"},
            "gpu": None,
            "model": "m",
            "quick": False,
            "minutes": 3.0,
            "left_out": [],
            "failed": [],
            "records": [*records, _record("busy") | {"other_cores_busy": busy}],
        }
        | others
    )


def test_a_ratio_is_the_median_of_ratios_of_neighbours() -> None:
    page = _page(
        *(_step("step ours", s, 3.0) for s in (5.0, 10.0, 6.0)),
        *(_step("step TRL", s, 10.0) for s in (100.0, 160.0, 90.0)),
    )
    # 20, 16 and 15
    assert "**16 ×** (15 to 20; 3 pairs) | ≥ 15 × | met" in page
    assert "3.00 GB | 10.00 GB | 30% | ≤ 60 % | met" in page
    assert "each generated token once | 60 GFLOP/s | 61% | ≥ 60% | met" in page


def test_what_falls_short_is_called_missed_and_what_did_not_run_not_measured() -> None:
    page = _page(_step("step ours", 10.0, 7.0), _step("step TRL", 100.0, 10.0))
    assert "≥ 15 × | missed" in page
    assert "70% | ≤ 60 % | missed" in page
    assert "## A million stored completions\n\nnot measured" in page


def test_a_busy_machine_is_said() -> None:
    assert "NOT quiet" in _page(_step("step ours", 1.0, 1.0), busy=0.8)
    assert "quiet: no measurement" in _page(_step("step ours", 1.0, 1.0), busy=0.05)
    assert "no CUDA device at hand" in _page(_step("step ours", 1.0, 1.0))


def test_cells_outside_their_bars_are_named_with_their_figures() -> None:
    claim = {
        "estimate": "a rate",
        "claim": "holds",
        "checked": "coverage",
        "low": 0.9,
        "middle": 0.95,
        "high": 1.0,
        "cells": 12,
        "outside": ["skewed, 5 problems x 4: 0.900"],
    }
    found = _record("referee", claims=[claim], date="then") | {"parameters": {"replications": 100}}
    steps = [_step("step ours", 5.0, 3.0), _step("step TRL", 100.0, 10.0)]
    page = _page(*steps, found)
    assert "| a rate | holds | coverage | 0.900 to 1.000, median 0.950 | 12 | 1 |" in page
    assert "- a rate, coverage: skewed, 5 problems x 4: 0.900" in page
    assert "Run by itself on then." in page
    busy = _page(*steps, found | {"other_cores_busy": 1.5})
    assert "quiet: no measurement had more than" in busy, "it measures no time"
    fine = found | {"claims": [claim | {"outside": []}]}
    assert "No cell is outside." in _page(*steps, fine)


def _on_gpu(*records: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {
        "date": "then",
        "machine": {"cpu": "b", "cores": 16},
        "versions": {"python": "3.12"},
        "gpu": "NVIDIA X",
        "products": "bfloat16",
        "model": "m",
        "quick": False,
        "minutes": 5.0,
        "left_out": [],
        "failed": [],
        "records": list(records),
    } | others


def _gpu_step(label: str, seconds: float, gap: float) -> dict[str, Any]:
    return _step(label, seconds, 50.0) | {
        "peak_device_memory_bytes": 2e9,
        "sampling_gap_nats": [gap, 3 * gap],
        "largest_gap_nats": 0.1,
        "peak_operations_per_second": 7e14,
    }


def test_a_gpu_has_a_section_of_its_own_without_bars() -> None:
    cpu = _step("step ours", 10.0, 3.0), _step("step TRL", 100.0, 10.0)
    agreed = {
        "sampler_mean_nats": 0.004,
        "sampler_largest_nats": 0.03,
        "learner_mean_nats": 0.005,
        "learner_largest_nats": 0.02,
        "tokens": 1234,
    }
    measured = _on_gpu(
        _record("agreement", **agreed),
        _gpu_step("step ours", 0.5, 0.01),
        _gpu_step("step TRL", 2.0, 0.01),
    )
    page = _page(*cpu, on_gpu=measured)
    before, after = page.split("## On a GPU")
    assert before == _page(*cpu) + "\n", "what the CPU did stays as it was"
    assert "| GPU | NVIDIA X |" in after
    assert "| 0.5 s a step | 2 s a step | **4 ×** (4 to 4; 1 pairs) | — | — |" in after
    assert "2.00 GB | 2.00 GB | 100% | — | — |" in after, "the GPU's memory, not the process's"
    assert "| bfloat16 matrix product | 700,000 GFLOP/s | 100 % |" in after
    assert (
        "sampler's log-probabilities, 1,234 tokens, against float32 on the CPU | 0.004 |" in after
    )
    assert "means of 2 steps | 0.02 | 0.03 | 0.1 |" in after
    assert "| met |" not in after
    assert "| missed |" not in after


def test_what_a_gpu_could_not_measure_is_said() -> None:
    lacking = _on_gpu(_gpu_step("step ours", 0.5, 0.01), failed=["step TRL, round 1"])
    after = _page(_step("step ours", 1.0, 1.0), on_gpu=lacking).split("## On a GPU")[1]
    assert "| not measured |" in after
    assert "**Failed**, so not measured: step TRL, round 1" in after
    assert "TRL was not measured." in after
