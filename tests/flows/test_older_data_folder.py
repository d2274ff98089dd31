"""A data folder that an earlier version wrote is still read: listed, shown, replayed, promoted.

`tests/data/data-folder-format-2.tar.xz` was written by the commit before results got format 3:
`eval`, `select`, `learn` and a refused `promote` with a tiny model, without the reports, pictures
and Prefect's own files, which nothing reads.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from flows.cli.parser import main
from schemas.outputs import OUTPUTS

pytestmark = pytest.mark.slow

ARCHIVE = Path(__file__).parents[1] / "data" / "data-folder-format-2.tar.xz"
WRITTEN_IN = "/tmp/tl-before"
TEXT_FILES = (".json", ".md", ".txt", ".yaml", "MLmodel")


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The unpacked folder, moved to a place of its own, as the current data folder."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name.endswith(TEXT_FILES):
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(WRITTEN_IN, str(tmp_path)), encoding="utf-8")
    with contextlib.closing(sqlite3.connect(tmp_path / "home" / "mlflow.db")) as database:
        _move(database, str(tmp_path))
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "home"))
    return tmp_path


def _move(database: sqlite3.Connection, to: str) -> None:
    tables = database.execute("select name from sqlite_master where type = 'table'").fetchall()
    for (table,) in tables:
        for _, column, kind, *_ in database.execute(f"pragma table_info('{table}')").fetchall():
            if "CHAR" in kind or "TEXT" in kind:
                words = f'update "{table}" set "{column}" = replace("{column}", ?, ?)'
                database.execute(
                    f'{words} where "{column}" like ?', (WRITTEN_IN, to, f"%{WRITTEN_IN}%")
                )
    database.commit()


def _recorded(older: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((older / f"{name}.json").read_text()))


def _today(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics of format 2 under the names of format 3."""
    return {{"right_format": "valid_format_rate"}.get(name, name): v for name, v in metrics.items()}


def _rates(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics without the ends of intervals, which are computed in another way now."""
    return {name: v for name, v in metrics.items() if not name.endswith(("_low", "_high"))}


def _said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main([*words, "--json"])
    line = capsys.readouterr().out.splitlines()[-1]
    TypeAdapter(OUTPUTS[words[0]]).validate_json(line)
    return code, json.loads(line)


def test_every_run_is_listed(older: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, listed = _said(capsys, "runs")
    assert [run["loop"] for run in listed["runs"]] == ["C", "B", "A"]
    assert [run["run_id"] for run in listed["runs"]] == [
        _recorded(older, name)["run_id"] for name in ("learn", "select", "eval")
    ]
    assert [made["decision"] for made in listed["decisions"]] == ["refused"]


@pytest.mark.parametrize("name", ["eval", "select", "learn"])
def test_a_run_is_shown_with_the_rates_that_it_recorded(
    name: str, older: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    then = _recorded(older, name)
    code, shown = _said(capsys, "show", then["run_id"])
    assert code == 0
    assert shown["metrics"] == _today(then["metrics"])
    assert shown["instrument"] == then["instrument"]
    assert len(shown["rows"]) > 0
    assert main(["show", then["run_id"]]) == 0
    assert then["run_id"] in capsys.readouterr().out


def test_a_decision_is_shown(older: Path, capsys: pytest.CaptureFixture[str]) -> None:
    then = _recorded(older, "promote")
    _, shown = _said(capsys, "show", then["run_id"])
    assert shown["reasons"] == then["reasons"]
    assert shown["evidence"]["difference"] == then["evidence"]["difference"]


@pytest.mark.parametrize("name", ["eval", "select"])
def test_a_run_is_replayed_to_the_same_rates_and_instrument(
    name: str, older: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    then = _recorded(older, name)
    code, now = _said(capsys, name, "--completions", then["run_id"])
    assert code == 0
    assert _rates(now["metrics"]) == _rates(_today(then["metrics"]))
    assert now["instrument"] == then["instrument"]
    assert now["outcomes"] == then["outcomes"]


def test_a_version_is_promoted_on_the_evidence_of_then(
    older: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.cli.verbs.past_runs.configure_prefect", lambda data_dir: None)
    monkeypatch.setattr("flows.cli.verbs.past_runs.start_prefect", lambda *_: None)
    monkeypatch.setattr(
        "flows.cli.verbs.past_runs.run_flow",
        lambda runtime, flow, config, _, **more: flow.fn(config),
    )
    then = _recorded(older, "promote")
    code, decided = _said(capsys, "promote", "models:/threeloops/1")
    assert code == 0, decided["reasons"]
    assert decided["champion"] == "models:/threeloops/1"
    now, before = decided["evidence"]["difference"], then["evidence"]["difference"]
    for name in ("value", "problems", "better", "worse"):
        assert now[name] == before[name]
