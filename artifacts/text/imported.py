"""Where completions came from and what was missing, in sentences for the terminal and for pages."""

from __future__ import annotations

from artifacts.text.numbers import counted
from schemas.imported import ImportedFrom, PartialAnswers


def origin_lines(imported: ImportedFrom) -> list[str]:
    """Which program sampled which model, what it said itself, and what it did not record."""
    tool = " ".join(part for part in (imported.tool or imported.format, imported.version) if part)
    model = f", model {imported.model}" if imported.model else ", which names no model"
    lines = [f"{counted(imported.answers, 'answer')} by {tool}{model}"]
    lines += [
        f"its own score {name}: mean {score.mean:.3f} of {score.rows} rows"
        for name, score in imported.own_scores.items()
    ]
    if imported.finish_unknown:
        lines.append(
            f"{imported.finish_unknown} answers came without a finish reason and count as ended "
            "by the model"
        )
    if imported.failed:
        lines.append(f"requests that failed and brought no answer: {imported.failed}")
    return lines


def missing_lines(partial: PartialAnswers) -> list[str]:
    """What was not there, and what the rates are over."""
    left_out = partial.asked - partial.without_answer - partial.measured
    short = (
        f"{left_out} fewer than {partial.samples} and are left out"
        if left_out
        else f"{partial.with_fewer} fewer than others"
    )
    lines = [
        f"partial: of {partial.asked} problems {partial.without_answer} have no answer, {short}"
    ]
    if partial.unused:
        lines.append(f"answers not counted, so that every problem has as many: {partial.unused}")
    return [
        *lines,
        f"every rate is over the {counted(partial.measured, 'problem')} with at least "
        f"{counted(partial.samples, 'answer')}",
    ]
