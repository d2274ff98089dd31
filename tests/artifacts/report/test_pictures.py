"""The picture of pass@k: every k with its interval, the control, and the number of problems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from artifacts.report import pictures as module
from artifacts.report.pictures import pass_at_k_picture, quiet_pyplot, save
from schemas.measurements import ConstantAnswer, Estimate, Summary


def rate(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.1, high=value + 0.1, problems=9, completions=27)


def summary(control: dict[int, float]) -> Summary:
    return Summary(
        samples=3,
        pass_rate=rate(0.2),
        pass_at_k={3: rate(0.6), 1: rate(0.2), 2: rate(0.4)},
        valid_format_rate=rate(0.9),
        mean_reward=rate(0.2),
        outcomes={},
        codes={},
        families={},
        control=control,
        best_constant=ConstantAnswer(answer="3", rate=1 / 3, correct=3, problems=9),
    )


def drawn(path: Path, monkeypatch: pytest.MonkeyPatch, **summaries: Summary) -> Any:
    """The axes of the picture, which is written too."""
    kept: list[Any] = []

    def spy(figure: Any, to: Path) -> None:
        kept.extend(figure.axes)
        save(figure, to)

    monkeypatch.setattr(module, "save", spy)
    pass_at_k_picture(path, summaries)
    (axes,) = kept
    return axes


def test_every_k_has_its_rate_in_order_and_its_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = drawn(tmp_path / "p.png", monkeypatch, after=summary({}))
    (line,) = axes.get_lines()
    assert line.get_xdata().tolist() == [1, 2, 3]
    assert line.get_ydata().tolist() == [0.2, 0.4, 0.6]
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    assert corners[:, 1].min() == pytest.approx(0.1)
    assert corners[:, 1].max() == pytest.approx(0.7)
    assert axes.get_title() == "pass@k, 95 % interval, n = 9 problems x 3 samples"
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_the_control_is_named_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = drawn(tmp_path / "p.png", monkeypatch, before=summary({1: 0.1, 2: 0.15}))
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["before", "before control: other problems' answers"]


def test_two_measurements_can_be_told_apart_without_colour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = drawn(tmp_path / "p.png", monkeypatch, before=summary({}), after=summary({}))
    assert len({line.get_marker() for line in axes.get_lines()}) == 2


def test_a_file_of_settings_changes_no_picture() -> None:
    import matplotlib

    with matplotlib.rc_context({"text.usetex": True, "lines.linewidth": 50}):
        rc = quiet_pyplot().rcParams
        assert not rc["text.usetex"]
        assert rc["lines.linewidth"] == 1.5
