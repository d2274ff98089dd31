"""The paths that the documents name are there, and the map of the code leaves no folder out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAP = ROOT / "docs" / "code.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGES = (
    "threeloops", "flows", "tasks", "engines", "artifacts", "policy", "scorers", "schemas", "bench",
)  # fmt: skip
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
FOLDERS = "|".join((*PACKAGES, "tests", "docs", "scripts", "deploy"))
# `flows/eval.py`, `flows/cli/` or `prefect.yaml`, and no command
PATH = re.compile(rf"`((?:{FOLDERS})/[\w./-]*|[\w-]+\.(?:toml|yaml))`")
# files that CONTRIBUTING.md shows how to add
TO_ADD = re.compile("NAME|bare_int|longest")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_and_link_of_a_page_is_there(page: Path) -> None:
    text = FENCED.sub("", page.read_text())
    named = [path for path in PATH.findall(text) if not TO_ADD.search(path)]
    missing = [path for path in named if not (ROOT / path).exists()]
    missing += [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    assert missing == []


def test_every_code_span_of_the_map_that_looks_like_a_file_is_a_whole_path() -> None:
    spans = re.findall(r"`([^`\s]+\.(?:py|jsonl|yaml|toml|js))`", FENCED.sub("", MAP.read_text()))
    assert len(spans) > 60
    assert [span for span in spans if not (ROOT / span).is_file()] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_the_map_shows_every_folder_of_the_code(package: str) -> None:
    tree = MAP.read_text().split("```")[1]
    inside = [folder.parent.name for folder in (ROOT / package).rglob("*/__init__.py")]
    missing = [name for name in [package, *inside] if not re.search(rf"\b{name}/", tree)]
    assert missing == []
