"""The learning picture shows every number it should, with its interval and its n."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from artifacts.report import learning_picture as module
from artifacts.report.learning_picture import learning_picture
from artifacts.report.pictures import save
from schemas.config import LearningConfig, LearningSettings
from schemas.measurements import ConstantAnswer, Estimate, StepRate, Summary

pytestmark = pytest.mark.slow


def estimate(value: float, problems: int, samples: int) -> Estimate:
    return Estimate(
        value=value,
        low=value - 0.1,
        high=value + 0.1,
        problems=problems,
        completions=problems * samples,
    )


def summary(value: float) -> Summary:
    rate = estimate(value, 240, 4)
    return Summary(
        samples=4,
        pass_rate=rate,
        pass_at_k={1: rate, 2: rate},
        valid_format_rate=rate,
        mean_reward=rate,
        outcomes={},
        codes={},
        families={},
        control={1: value, 2: value},
        best_constant=ConstantAnswer(answer="3", rate=1 / 3, correct=1, problems=3),
    )


def row(step: int) -> dict[str, Any]:
    return {
        "step": step,
        "completions": 128,
        "reward_mean": 0.3,
        "valid_format_rate": 1.0,
        "kl_nats": -0.1 * step,
        "entropy_nats_per_token": 0.4,
        "gradient_norm": 2.0,
    }


def draw(
    path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, dev: list[int], **settings: Any
) -> list[str]:
    """Draw a picture of so many steps; returns every text in it."""
    texts: list[str] = []

    def spy(figure: Any, to: Path) -> None:
        for axes in figure.axes:
            texts.extend([axes.get_title(), axes.get_xlabel(), axes.get_ylabel()])
            legend = axes.get_legend()
            texts.extend(text.get_text() for text in (legend.get_texts() if legend else ()))
        texts.extend(text.get_text() for text in figure.texts)
        save(figure, to)

    monkeypatch.setattr(module, "save", spy)
    seen = [StepRate(step=step, rate=estimate(0.4, 120, 1)) for step in dev]
    training = pa.Table.from_pylist([row(step) for step in range(1, steps + 1)])
    learning = {key: settings.pop(key) for key in ("max_gradient_norm",) if key in settings}
    config = LearningConfig(learning=LearningSettings(**learning), **settings)
    learning_picture(path, config, training, seen, summary(0.3), summary(0.5))
    return texts


def test_it_shows_every_number_of_a_step_and_every_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = "\n".join(draw(tmp_path / "learning.png", monkeypatch, 20, [0, 10, 20]))
    for words in (
        "Reward, and pass@1 with 95 % interval",
        "pass@1 on dev, n = 120 problems × 1",
        "holdout before, n = 240 problems × 4",
        "holdout after, n = 240 problems × 4",
        "n = 128 completions, no interval",
        "Valid format",
        "Entropy",
        "KL to the start",
        "nats a completion",
        "norm before clipping",
        "clipped above 1",
        "pass@k",
    ):
        assert words in shown
    assert (tmp_path / "learning.png").read_bytes().startswith(b"\x89PNG")


def test_a_limit_is_drawn_where_the_run_came_near_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = draw(tmp_path / "a.png", monkeypatch, 2, [], max_gradient_norm=3.0)
    assert "Gradient (dashed: clipped above 3)" in near
    far = draw(tmp_path / "b.png", monkeypatch, 2, [], max_gradient_norm=1e6, max_kl_nats=5.0)
    assert {"Gradient", "KL to the start"} <= set(far)


def test_one_step_and_no_dev_can_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = draw(tmp_path / "learning.png", monkeypatch, 1, [])
    assert not any("dev" in text for text in shown)
