"""The table library that reports carry is one script that loads nothing."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from artifacts.report import table_library as module
from artifacts.report.table_library import GLOBAL, table_library


def test_it_is_one_script_without_modules_that_sets_one_name() -> None:
    library = table_library()
    assert library.script.count(f"window.{GLOBAL}=") == 1
    assert not re.search(r"\b(import|export) ?[{*(\"']", library.script)
    assert "DataTable" in library.script
    assert "</script" not in library.script.lower()


def test_its_licence_travels_with_it() -> None:
    assert "Permission is hereby granted" in table_library().licence


def test_a_bundle_of_another_form_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "bundle.js"
    other.write_text("export{a as b}")
    package = SimpleNamespace(locate_file=lambda _: other, version="9", files=[])
    monkeypatch.setattr(module, "distribution", lambda _: package)
    with pytest.raises(RuntimeError, match="itables 9 exports no jQuery"):
        module.table_library.__wrapped__()
