"""The report of a run: one HTML page that holds its rates, pictures and completions.

It puts together what others made; it reads no store and asks no host for anything.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

from artifacts.report import sections as sections
from artifacts.report.table_library import PACKAGE, table_library
from artifacts.text.describe import OUTCOME_WORDS
from artifacts.tracking.run import flat
from schemas.loops import loop_named

Result = Mapping[str, Any]
PAGE = Path(__file__).parent / "page"
SCRIPTS = ("data.js", "text.js", "table.js", "completions.js", "problems.js", "start.js")
PROBLEMS_TAB = {
    "A": "Problem by problem",
    "B": "Samples and picks",
    "C": "Step by step",
}


def report_html(
    result: Result,
    rows: Mapping[str, Any],
    verdicts: Sequence[tuple[str, str, int]],
    pictures: Mapping[str, bytes],
    changes: Result | None = None,
) -> str:
    """The page, whole: scripts, styles, pictures and rows are inside it.

    `rows` come from `report_rows.page_rows`, `verdicts` are (outcome, code, completions) over the
    full tables of what was measured last, `pictures` PNG files by name. `changes` is what another
    scorer judged otherwise. A policy in the page lets a browser run these scripts alone, and load
    nothing from anywhere.
    """
    library, packed_library = _packed_library()
    script = _script()
    learning = result["loop"] == "C"
    cards = [
        sections.verdicts(
            verdicts, result["instrument"]["parts"]["scorer"], "after learning," if learning else ""
        ),
        "" if learning else sections.families(result),
        sections.instrument(result),
        sections.changes_section(changes) if changes else "",
    ]
    images = (
        sections.picture(name, base64.b64encode(png).decode()) for name, png in pictures.items()
    )
    name = f"{loop_named(result['loop']).verb}-{result['run_id'][:6]}"
    return Template((PAGE / "report.html").read_text(encoding="utf-8")).substitute(
        scripts=" ".join(f"'sha256-{_sha256(text)}'" for text in (script, library)),
        title=sections.plain(f"{name}: loop {result['loop']}, {result['loop_name']}"),
        style=(PAGE / "report.css").read_text(encoding="utf-8"),
        run=f"{sections.plain(name)} <span>{sections.plain(result['run_id'])}</span>",
        headline=sections.headline(result),
        cards="".join(cards),
        pictures="".join(images),
        problems_tab=PROBLEMS_TAB[result["loop"]],
        note=sections.plain(cap_note(rows)),
        settings=sections.settings(flat(result["config"])),
        made=f"Made by threeloops {version('threeloops')}; its table is DataTables, from {PACKAGE} "
        f"{table_library().version}.",
        licence=sections.plain_block(table_library().licence),
        rows=_packed(json.dumps(rows, ensure_ascii=False, separators=(",", ":"))),
        library=packed_library,
        script=script,
    )


def cap_note(rows: Mapping[str, Any]) -> str:
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
        "whole tables are in the run's folder tables/."
    )


@lru_cache(maxsize=1)
def _script() -> str:
    """The page's own script: its parts, one after another, in one scope."""
    parts = "\n".join((PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}\n}})();'


@lru_cache(maxsize=1)
def _packed_library() -> tuple[str, str]:
    """The table library's script, plain and packed."""
    script = table_library().script
    return script, _packed(script)


def _packed(text: str) -> str:
    """Text as base64 of gzip, the same bytes every time; half a surrogate pair becomes `?`."""
    content = text.encode("utf-8", "replace")
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode("ascii")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
