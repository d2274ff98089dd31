"""The learning picture: how good the policy became, and beside it how the steps went."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from artifacts.report.pictures import COLOURS, STEPS, draw_pass_at_k, plain_axes, quiet_pyplot, save
from schemas.config import DEV, LearningConfig
from schemas.measurements import Estimate, StepRate, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DEV_COLOUR, LIMIT = "#2e7d4f", "#b03a48"
# column of the training table, title, unit
SIDE_PANELS = (
    ("valid_format_rate", "Valid format", "share of completions"),
    ("kl_nats", "KL to the start", "nats a completion"),
    ("entropy_nats_per_token", "Entropy", "nats a token"),
    ("gradient_norm", "Gradient", "norm before clipping"),
)


def learning_picture(
    path: Path,
    config: LearningConfig,
    training: pa.Table,
    dev: Sequence[StepRate],
    before: Summary,
    after: Summary,
) -> None:
    """Left: reward and pass@1 against steps, then pass@k; right: four numbers of every step.

    `training` is the training table.
    """
    figure = quiet_pyplot().figure(figsize=(14, 8))
    grid = figure.add_gridspec(
        2, 3, width_ratios=(1.7, 1, 1), left=0.05, right=0.985, top=0.9, bottom=0.12,
        hspace=0.48, wspace=0.24,
    )  # fmt: skip
    rates, at_k = (figure.add_subplot(grid[row, 0]) for row in (0, 1))
    sides = [figure.add_subplot(grid[cell % 2, 1 + cell // 2], sharex=rates) for cell in range(4)]
    for axes in (rates, at_k, *sides):
        plain_axes(axes)
    _draw_rates(rates, config, training, dev, before, after)
    draw_pass_at_k(at_k, {"before": before, "after": after})
    at_k.title.set_fontsize(11)
    _legend_below(at_k)
    limits = {"gradient_norm": (config.learning.max_gradient_norm, "clipped above")}
    if config.max_kl_nats is not None:
        limits["kl_nats"] = (config.max_kl_nats, "--max-kl")
    for axes, (column, title, unit) in zip(sides, SIDE_PANELS, strict=True):
        _draw_side(axes, training, column, title, limits.get(column))
        axes.set_ylabel(unit)
    figure.suptitle(
        f"Loop C: learning; a step is {config.problems_per_step} problems × {config.samples} "
        "completions",
        x=0.01,
        ha="left",
        fontsize=13,
        fontweight="bold",
    )
    figure.text(
        0.985,
        0.955,
        "right: the completions of each step, under the policy before its update; no interval",
        ha="right",
        fontsize=9,
        color=STEPS,
    )
    save(figure, path)


def _draw_rates(
    axes: Axes,
    config: LearningConfig,
    training: pa.Table,
    dev: Sequence[StepRate],
    before: Summary,
    after: Summary,
) -> None:
    steps = training["step"].to_pylist()
    axes.plot(
        steps,
        training["reward_mean"].to_pylist(),
        color=STEPS,
        linewidth=1,
        marker=".",
        markersize=4,
        alpha=0.65,
        label=f"reward of a step, n = {training['completions'][0]} completions, no interval",
    )
    if dev:
        label = f"pass@1 on {DEV}, {_n(dev[0].rate)}"
        _draw_estimates(
            axes, [seen.step for seen in dev], [seen.rate for seen in dev], DEV_COLOUR, "D-", label
        )
    beside = max(0.4, 0.02 * steps[-1])  # so that two measurements of one policy are both seen
    for name, at, summary, marker in (
        ("before", -beside, before, "o"),
        ("after", steps[-1] + beside, after, "s"),
    ):
        label = f"{config.split} {name}, {_n(summary.pass_rate)}"
        _draw_estimates(axes, [at], [summary.pass_rate], COLOURS[name], marker, label)
    axes.set(ylim=(0, 1), xlabel="step", ylabel="reward, pass@1")
    axes.locator_params(axis="x", integer=True)
    axes.set_title("Reward, and pass@1 with 95 % interval", fontsize=11)
    _legend_below(axes)


def _draw_estimates(
    axes: Axes, at: Sequence[float], rates: Sequence[Estimate], colour: str, style: str, label: str
) -> None:
    axes.errorbar(
        at,
        [rate.value for rate in rates],
        yerr=[[r.value - r.low for r in rates], [r.high - r.value for r in rates]],
        fmt=style,
        color=colour,
        markersize=5,
        linewidth=1.4,
        capsize=3,
        label=label,
        zorder=3,
    )


def _draw_side(
    axes: Axes,
    training: pa.Table,
    column: str,
    title: str,
    limit: tuple[float, str] | None,
) -> None:
    """One number of every step, and the limit that it is held to where the run came near it."""
    values = training[column].to_pylist()
    axes.plot(
        training["step"].to_pylist(),
        values,
        color=STEPS,
        linewidth=1.2,
        marker=".",
        markersize=4,
    )
    if limit is not None and max(values) > limit[0] / 2:
        axes.axhline(limit[0], color=LIMIT, linestyle="--", linewidth=1)
        title = f"{title} (dashed: {limit[1]} {limit[0]:g})"
    top = 1.03 if column == "valid_format_rate" else None
    axes.set_ylim(min(0.0, *values), top)
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("step")


def _legend_below(axes: Axes) -> None:
    """Put the legend where no curve can be."""
    axes.legend(
        frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.48, -0.17), ncols=2
    )


def _n(rate: Estimate) -> str:
    return f"n = {rate.problems} problems × {rate.completions // rate.problems}"
