"""The report of a run: one HTML page that holds its rates, pictures and completions."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from artifacts.report.page_data import PageRows
from artifacts.report.sections import PICTURE_TITLES, VerdictCount, instrument_parts, verdicts
from artifacts.report.table_library import PACKAGE, table_library
from artifacts.text.describe import OUTCOME_WORDS
from artifacts.text.numbers import (
    nats,
    nats_interval,
    percent,
    points,
    points_interval,
    rate_interval,
)
from artifacts.text.rates import constant_line, needs_answer, partial_reward, rate_rows
from artifacts.text.visible import short_digests, visible
from artifacts.tracking.run import settings_in_words
from schemas.loops import loop_named
from schemas.result_parts import ScorerChange
from schemas.results import LearningResult, LoopResult

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("data.js", "text.js", "table.js", "completions.js", "problems.js", "start.js")
PROBLEMS_TAB = {
    "A": "Problem by problem",
    "B": "Samples and picks",
    "C": "Step by step",
}
FIRST_CODES = 10


def report_html(
    result: LoopResult,
    rows: PageRows,
    counts: Sequence[VerdictCount],
    pictures: Mapping[str, bytes],
    changes: ScorerChange | None = None,
) -> str:
    """The whole page: scripts, styles, pictures and rows are inside it.

    `rows` come from `rows.page_rows`, `counts` are over the full tables of what was measured last,
    `pictures` are PNG files by name. `changes` is what another scorer says differently. A policy in
    the page lets a browser run these scripts alone, and load nothing from anywhere.
    """
    library = _library()
    script = _script()
    if isinstance(result, LearningResult):
        rates, mean_reward = rate_rows(result.before, result.after), None
        constant = constant_line(result.after, "pass@1 after")
    else:
        rates, mean_reward = rate_rows(result), partial_reward(result)
        constant = constant_line(result)
    return str(
        _templates()
        .get_template("report.html")
        .render(
            result=result,
            name=f"{loop_named(result.loop).verb}-{result.run_id[:6]}",
            rates=rates,
            mean_reward=mean_reward,
            constant=constant,
            verdicts=verdicts(counts, result.instrument.parts.scorer),
            first_codes=FIRST_CODES,
            parts=instrument_parts(result.instrument),
            changes=changes,
            pictures=[Picture.of(name, png) for name, png in pictures.items()],
            problems_tab=PROBLEMS_TAB[result.loop],
            note=cap_note(rows),
            settings=settings_in_words(result.config),
            version=version("threeloops"),
            library=library,
            rows=_packed(json.dumps(rows, ensure_ascii=False, separators=(",", ":"))),
            style=(PAGE / "report.css").read_text(encoding="utf-8"),
            script=script,
            script_digests=(_sha256(script), library.sha256),
        )
    )


def cap_note(rows: PageRows) -> str:
    """Which completions are not in the page, in words; empty where all are."""
    left = sum(rows["left_out"].values())
    if not left:
        return ""
    total = rows["total"]
    named = ", ".join(
        f"{count:,} {OUTCOME_WORDS[name]}" for name, count in rows["left_out"].items() if count
    )
    return (
        f"{total - left:,} of {total:,} completions are in this page: the problems answered worst, "
        f"each with all its answers. Left out: {named}. Every count and rate above is of all; the "
        "whole tables are the files that the run's result.json names."
    )


@dataclass(frozen=True)
class Picture:
    """A picture with its title, as the page holds it."""

    title: str
    base64: str

    @classmethod
    def of(cls, name: str, png: bytes) -> Picture:
        """A PNG file by its name."""
        return cls(PICTURE_TITLES.get(name, name), base64.b64encode(png).decode("ascii"))


@dataclass(frozen=True)
class PackedLibrary:
    """The table library as the page holds it; `sha256` is that of its script."""

    package: str
    version: str
    licence: str
    packed: str
    sha256: str


@lru_cache(maxsize=1)
def _templates() -> Environment:
    """The templates of the page. Every text that they are given is escaped."""
    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "plain": lambda text: visible(str(text), mark_spaces=False),
        "short_digests": lambda text: short_digests(text, mark="…"),
        "thousands": lambda count: f"{count:,}",
        "percent": percent,
        "points": points,
        "nats": nats,
        "rate_interval": rate_interval,
        "points_interval": points_interval,
        "nats_interval": nats_interval,
    }
    environment.tests["needs_answer"] = needs_answer
    return environment


@lru_cache(maxsize=1)
def _script() -> str:
    """The page's own script: its parts, one after another, in one scope."""
    parts = "\n".join((PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}\n}})();'


@lru_cache(maxsize=1)
def _library() -> PackedLibrary:
    """The table library, packed."""
    library = table_library()
    return PackedLibrary(
        package=PACKAGE,
        version=library.version,
        licence=library.licence,
        packed=_packed(library.script),
        sha256=_sha256(library.script),
    )


def _packed(text: str) -> str:
    """Text as base64 of gzip, the same bytes every time; half a surrogate pair becomes `?`."""
    content = text.encode("utf-8", "replace")
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode("ascii")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
