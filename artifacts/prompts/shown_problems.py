"""Whether a prompt template shows a problem that is measured: its rate would measure copying."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa

from policy.model.template import PromptTemplate
from schemas.errors import InputError

ASKED = re.compile(r"^(?:q|question|problem|user|human)\s*\d*\s*[:.)]\s*", re.IGNORECASE)


def refuse_shown_problems(template: PromptTemplate, measured: pa.Table, where: str) -> None:
    """InputError where a worked example, or a line of any text, is a problem that is measured.

    White space and the case of letters make no difference. A built-in template is not looked at.
    """
    if template.built_in:
        return
    shown = dict(_shown(template))
    for identity, prompt in zip(
        measured["problem_id"].to_pylist(), measured["prompt"].to_pylist(), strict=True
    ):
        if (place := shown.get(_plain(prompt))) is not None:
            raise InputError(
                f"shows problem {identity!r}, which is measured on {where}",
                f"template {template.id}: {place}",
                "leave it out, or ask something else in it",
            )


def _shown(template: PromptTemplate) -> Iterator[tuple[str, str]]:
    """Every question that a template could give away, and the field that it stands in."""
    for name, text in (("system", template.system or ""), ("instruction", template.instruction)):
        yield from _lines(text, name)
    for number, (question, answer) in enumerate(template.examples, start=1):
        yield from _lines(answer, f"examples.{number}.answer")
        yield from _lines(question, f"examples.{number}.question")
        yield _plain(question), f"examples.{number}.question"


def _lines(text: str, name: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        for asked in (line, ASKED.sub("", line.strip())):
            if plain := _plain(asked):
                yield plain, name


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
