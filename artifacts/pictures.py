"""Pictures of a run: pass@k against k, and learning against steps.

Every point has its interval, or is named as having none; colours can be told apart in grey.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.results import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEFORE, AFTER, STEPS = "#9a6a2f", "#1b6ca8", "#444444"
COLOURS = {"": AFTER, "before": BEFORE, "after": AFTER}


def pass_at_k_picture(path: Path, summaries: Mapping[str, Summary]) -> None:
    """pass@k with its 95 % interval for each k up to N, one line for each named summary."""
    figure, axes = _figure(1)
    _draw_pass_at_k(axes[0], summaries)
    _save(figure, path)


def learning_picture(
    path: Path, training: Sequence[Mapping[str, Any]], before: Summary, after: Summary
) -> None:
    """Left: reward and drift at each step beside pass@1 before and after; right: pass@k."""
    figure, (steps, ks) = _figure(2)
    xs = [row["step"] for row in training]
    steps.plot(
        xs,
        [row["reward_mean"] for row in training],
        color=STEPS,
        linewidth=1.2,
        marker=".",
        label="reward in training (no interval)",
    )
    for x, name, summary in ((0, "before", before), (max(xs) + 1, "after", after)):
        rate = summary.pass_rate
        steps.errorbar(
            [x],
            [rate.value],
            yerr=[[rate.value - rate.low], [rate.high - rate.value]],
            fmt="o" if name == "before" else "s",
            color=COLOURS[name],
            capsize=4,
            label=f"pass@1 {name}, n = {rate.problems} problems",
        )
    steps.set(xlabel="step", ylabel="reward, pass@1", ylim=(0, 1), title="Loop C: learning")
    drift = steps.twinx()
    drift.plot(
        xs, [row["kl_nats"] for row in training], color="#b03a48", linestyle=":", label="KL (right)"
    )
    drift.spines["top"].set_visible(False)
    drift.set_ylabel("KL to the start, nats a completion")
    drift.set_ylim(bottom=min(0.0, *[row["kl_nats"] for row in training]))
    lines = [axis.get_legend_handles_labels() for axis in (steps, drift)]
    steps.legend(
        [h for handles, _ in lines for h in handles],
        [t for _, texts in lines for t in texts],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.13),
        ncols=2,
        fontsize=8,
        frameon=False,
    )
    _draw_pass_at_k(ks, {"before": before, "after": after})
    _save(figure, path)


def _draw_pass_at_k(axes: Axes, summaries: Mapping[str, Summary]) -> None:
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


def _figure(columns: int) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, columns, figsize=(6.4 * columns, 4.4), squeeze=False)
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.25)
    return figure, axes[0]


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
