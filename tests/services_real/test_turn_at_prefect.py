"""The gate's turn on a real Prefect server, for machines that share it and MLflow, and no store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from artifacts.tracking.named import TRACKING
from flows.orchestration.prefect_turn import held_by_prefect
from policy.model.tiny import make_tiny_model
from schemas.errors import InputError
from tests.faults.server import PrefectServer

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1200)]
ROOT = Path(__file__).parents[2]
SECONDS = 60.0  # Prefect keeps no shorter lease
PATIENCE = 300.0
HOLDER = f"""
import sys
from flows.orchestration.prefect_turn import held_by_prefect
from schemas.errors import InputError

with held_by_prefect(sys.argv[1], lambda: None, seconds={SECONDS}) as turn:
    print("held", flush=True)
    for line in sys.stdin:
        try:
            turn.refuse_lost("it")
            print("mine", flush=True)
        except InputError as error:
            print(error, flush=True)
"""


@pytest.fixture
def name(prefect: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a turn of the test's own, at a server that this process asks too."""
    monkeypatch.setenv("PREFECT_API_URL", prefect.url)
    with temporary_settings({PREFECT_API_URL: prefect.url}):
        yield uuid4().hex[:12]


@contextmanager
def holder(name: str) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that has the turn, and says at each line whether it still has."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, name], stdin=pipe, stdout=pipe, text=True, env=environment
    ) as process:
        try:
            assert answer(process) == "held"
            yield process
        finally:
            process.kill()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def asked(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    process.stdin.write("?\n")
    process.stdin.flush()
    return answer(process)


def test_a_holder_that_lives_keeps_it_longer_than_its_time_and_then_lets_go(name: str) -> None:
    told: list[str] = []
    with holder(name) as process:
        time.sleep(1.5 * SECONDS)
        assert asked(process) == "mine"
        assert process.stdin is not None
        process.stdin.close()
        with held_by_prefect(name, lambda: told.append("waits")) as turn:
            turn.refuse_lost("it")
    assert len(told) <= 1


def test_what_a_killed_process_had_is_anothers_when_its_time_is_over(name: str) -> None:
    told: list[str] = []
    with holder(name) as process:
        process.send_signal(signal.SIGKILL)
        with held_by_prefect(name, lambda: told.append("waits")) as turn:
            turn.refuse_lost("it")
    assert told == ["waits"]


def test_a_process_that_slept_finds_that_another_may_have_had_its_turn(name: str) -> None:
    with holder(name) as process:
        process.send_signal(signal.SIGSTOP)
        with held_by_prefect(name, lambda: None):
            process.send_signal(signal.SIGCONT)
            assert "another machine may have gone on in its place" in asked(process)


def test_a_server_that_does_not_answer_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    nobody = "http://me:canary-of-prefect@127.0.0.1:9/api"
    monkeypatch.setenv("PREFECT_API_URL", nobody)
    with (
        temporary_settings({PREFECT_API_URL: nobody}),
        pytest.raises(InputError, match="does not keep the turn") as caught,
        held_by_prefect(name, lambda: None),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert "canary" not in str(caught.value)


def test_the_gate_of_a_machine_waits_for_that_of_another(
    name: str, mlflow_server: str, tmp_path: Path
) -> None:
    tiny = make_tiny_model(tmp_path / "tiny")
    environment = os.environ | {
        TRACKING: mlflow_server,
        "MLFLOW_EXPERIMENT_NAME": name,
        "THREELOOPS_HOME": str(tmp_path / "home"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
    }

    def started(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *words],
            env=environment, cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    learning = started(
        "learn", "--model", str(tiny), "--steps", "1", "--problems-per-step", "2", "--samples", "2",
        "--limit", "4", "--max-new-tokens", "4", "--dev-every", "0", "--register-as", name,
        "--json",
    )  # fmt: skip
    out, err = learning.communicate(timeout=PATIENCE)
    assert learning.returncode == 0, err
    version = json.loads(out.splitlines()[-1])["model"]["name"]
    with held_by_prefect("gate", lambda: None):
        deciding = started("promote", version)
        assert deciding.stderr is not None
        said = ""
        while "of another machine or data folder" not in said:
            line = deciding.stderr.readline()
            assert line, said
            said += line
        time.sleep(3)
        assert deciding.poll() is None
    out, err = deciding.communicate(timeout=PATIENCE)
    assert deciding.returncode == 1, said + err
    assert "refused" in out
