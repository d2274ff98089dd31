"""`threeloops sync`, and what verbs say of a server that does not answer."""

from __future__ import annotations

import json
import socket
import time

import pytest

from artifacts.store.data_dir import DataDir
from artifacts.tracking.connection import ASKING
from artifacts.tracking.named import SERVER
from artifacts.unsent.journal import begin_journal
from flows.cli.parser import main

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _environment_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ASKING.items():
        monkeypatch.setenv(name, value)


def kept_for(data_dir: DataDir, to: str, address: str) -> None:
    journal = begin_journal(data_dir, to, address)
    journal.keep({"call": "set tag", "run": "r", "key": "k", "value": "v"})
    journal.close()


def test_nothing_is_kept(data_dir: DataDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync"]) == 0
    assert capsys.readouterr().out == "nothing is kept: all was sent\n"
    assert main(["sync", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"sent": {}, "left": 0, "reasons": [], "exit_code": 0}
    assert not (data_dir.root / "unsent").exists()


def test_what_is_for_servers_that_nobody_uses_now_stays(
    data_dir: DataDir, capsys: pytest.CaptureFixture[str]
) -> None:
    kept_for(data_dir, "mlflow", "http://mlflow.example")
    kept_for(data_dir, "prefect", "http://prefect.example/api")
    assert main(["sync", "--json"]) == 1
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert (answer["sent"], answer["left"]) == ({}, 2)
    assert [one.partition(" is for ")[2] for one in answer["reasons"]] == [
        "MLflow at http://mlflow.example; use that server, or move the file away and go on without",
        "Prefect at http://prefect.example/api",
    ]
    assert printed.err.splitlines()[-1] == "threeloops: 2 records not sent; nothing of it is lost"


def test_sync_without_the_server_says_so(
    data_dir: DataDir, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SERVER, NOBODY)
    kept_for(data_dir, "mlflow", NOBODY)
    assert main(["sync", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["left"] == 1
    assert "no MLflow server answers there" in " ".join(answer["reasons"])


@pytest.mark.parametrize("verb", [["eval", "--limit", "1"], ["runs"], ["show", "eval-1a2b3c"]])
def test_a_dead_mlflow_server_is_one_line(
    verb: list[str],
    data_dir: DataDir,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SERVER, NOBODY)
    assert main(verb) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"threeloops: {SERVER}={NOBODY}: no MLflow server answers there (")
    assert "start it, or unset the variable" in line


def test_an_mlflow_server_that_never_answers_is_one_line_soon(
    data_dir: DataDir, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ASKING, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(SERVER, f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert main(["runs"]) == 2  # what is imported first takes seconds
        began = time.monotonic()
        assert main(["runs"]) == 2
        assert time.monotonic() - began < 10
    assert "no MLflow server answers there" in capsys.readouterr().err
