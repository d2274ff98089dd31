"""The picture of pass@k against k, and what all pictures share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.measurements import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEFORE, AFTER, STEPS = "#9a6a2f", "#1b6ca8", "#444444"
COLOURS = {"": AFTER, "before": BEFORE, "after": AFTER}


def pass_at_k_picture(path: Path, summaries: Mapping[str, Summary]) -> None:
    """pass@k with its 95 % interval for each k up to N, one line for each named summary."""
    figure, axes = quiet_pyplot().subplots(figsize=(6.4, 4.4))
    plain_axes(axes)
    draw_pass_at_k(axes, summaries)
    figure.tight_layout()
    save(figure, path)


def draw_pass_at_k(axes: Axes, summaries: Mapping[str, Summary]) -> None:
    """Draw pass@k of each named summary into axes."""
    largest = 1
    for name, summary in summaries.items():
        ks = sorted(summary.pass_at_k)
        largest = max(largest, *ks)
        rates = [summary.pass_at_k[k] for k in ks]
        colour = COLOURS.get(name, AFTER)
        axes.plot(
            ks,
            [r.value for r in rates],
            color=colour,
            marker="s" if name == "after" else "o",
            label=name or "pass@k",
        )
        axes.fill_between(
            ks, [r.low for r in rates], [r.high for r in rates], color=colour, alpha=0.15
        )
        if summary.control:
            control = sorted(summary.control.items())
            axes.plot(
                [k for k, _ in control],
                [value for _, value in control],
                color=colour,
                linestyle=":",
                label=f"{name} control: other problems' answers".strip(),
            )
    first = next(iter(summaries.values()))
    problems, samples = first.pass_rate.problems, first.samples
    axes.set_xscale("log", base=2)
    ticks = [k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256) if k <= largest]
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.minorticks_off()
    axes.set(xlabel="k", ylabel="pass@k", ylim=(0, 1))
    axes.set_title(f"pass@k, 95 % interval, n = {problems} problems x {samples} samples")
    axes.legend(frameon=False, fontsize=9)


def quiet_pyplot() -> Any:
    """matplotlib's pyplot, which opens no window and draws the same everywhere.

    A matplotlibrc in the working directory could otherwise have every text set by LaTeX.
    """
    import matplotlib

    matplotlib.rcdefaults()
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def plain_axes(axes: Axes) -> None:
    """Two spines and a faint grid to read values by."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)


def save(figure: Any, path: Path) -> None:
    """Write a figure and free its memory."""
    from matplotlib import pyplot

    figure.savefig(path, dpi=130)
    pyplot.close(figure)
