"""Two machines that share a store, an MLflow and a Prefect server, and nothing else; or less.

A machine is a data folder with processes that have a host name and process ids of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from artifacts.registry.turn import ENTRIES, RegistryTurn
from artifacts.store.shared.lease import SECONDS, SLOWER_CLOCK
from artifacts.store.shared.objects import VARIABLE as STORE
from artifacts.tracking.named import EXPERIMENT_NAME, TRACKING
from policy.model.tiny import make_tiny_model
from tests.faults.server import PrefectServer
from tests.seaweed import OWNER, SeaweedServer

ROOT = Path(__file__).parents[2]
# processes of another namespace look like those of another computer
APART = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
PATIENCE = 600.0
LEASE_IS_OVER = SECONDS * SLOWER_CLOCK + 5
# a gain that is real: every answer is 5, so that the gate has someone to promote
LEARNING = [
    "--limit", "40", "--steps", "40", "--problems-per-step", "8", "--samples", "16",
    "--learning-rate", "3e-3", "--kl-weight", "0", "--schedule", "constant",
    "--evaluation-samples", "2", "--checkpoint-every", "2", "--dev-every", "0",
]  # fmt: skip

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1800)]


@dataclass
class Machine:
    """A host name, a data folder, and the addresses of what is shared."""

    name: str
    home: Path
    environment: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command that goes on; its two streams are pipes."""
        command = [sys.executable, "-m", "flows.cli", *words]
        own = {"THREELOOPS_HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        others = {name: value for name, value in os.environ.items() if name != STORE}
        if more := os.environ.get("PYTHONPATH"):
            own["PYTHONPATH"] += os.pathsep + more
        process = subprocess.Popen(
            [*APART, "sh", "-c", f'hostname {self.name}; exec "$@"', "sh", *command],
            env=others | self.environment | own,
            cwd=self.home.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def ended(self, process: subprocess.Popen[str], code: int = 0) -> str:
        """What a command printed; it has to end with this code."""
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, err
        return out

    def told(self, *words: str, code: int = 0) -> dict[str, Any]:
        """The answer of a command with --json."""
        answer = self.ended(self.start(*words, "--json"), code)
        return dict(json.loads(answer.splitlines()[-1]))

    def stop(self) -> None:
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def machines(
    tmp_path: Path, bucket: str, weed: SeaweedServer, mlflow_server: str, prefect: PrefectServer
) -> Iterator[tuple[Machine, Machine]]:
    """Two machines that have nothing yet, with an experiment of the test's own."""
    if subprocess.run([*APART, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces of host names and process ids cannot be made here")
    shared = weed.settings(OWNER) | {
        TRACKING: mlflow_server,
        EXPERIMENT_NAME: bucket.rpartition("/")[2],
        STORE: bucket,
        "PREFECT_API_URL": prefect.url,
    }
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        made.append(Machine(name, folder / "home", shared | {"TMPDIR": str(folder)}))
    yield made[0], made[1]
    for machine in made:
        machine.stop()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def fives(tmp_path: Path, tiny_model: Path) -> Callable[[Machine], list[str]]:
    """The same model and problems, as a copy on each machine: differences whose answer is 5."""
    splits = ["train"] * 40 + ["dev"] * 4 + ["holdout"] * 40
    rows = [
        {"id": f"{b + 5}-{b}", "prompt": f"{b + 5} - {b}?", "expected_answer": 5, "split": split}
        for b, split in enumerate(splits)
    ]

    def options(machine: Machine) -> list[str]:
        here = machine.home.parent
        if not (here / "fives.jsonl").exists():
            (here / "fives.jsonl").write_text("\n".join(map(json.dumps, rows)))
            shutil.copytree(tiny_model, here / "tiny")
        # named from the working folder, which is the machine's: the same words on both
        return ["--model", "tiny", "--dataset", "fives.jsonl", "--max-new-tokens", "6"]

    return options


def learn(machine: Machine, options: list[str]) -> dict[str, Any]:
    """A version that the gate lets pass, under a name of the test's own."""
    return machine.told("learn", *options, *registered(machine))


def registered(machine: Machine) -> list[str]:
    return [*LEARNING, "--register-as", machine.environment[EXPERIMENT_NAME]]


def test_a_run_of_one_machine_is_shown_replayed_compared_and_promoted_on_the_other(
    machines: tuple[Machine, Machine], fives: Callable[[Machine], list[str]]
) -> None:
    one, two = machines
    measured = one.told("eval", *fives(one), "--samples", "2")
    learned = learn(one, fives(one))
    shown = two.told("show", measured["run_id"])
    assert shown["metrics"] == measured["metrics"]
    fives(two)
    replayed = two.told("eval", "--completions", measured["run_id"])
    assert replayed["outcomes"] == measured["outcomes"]
    tables = [Path(run["tables"]["completions"]).name for run in (replayed, measured)]
    assert tables[0] == tables[1], "named by their digests"
    version = learned["model"]["name"]
    fresh = ["--samples", "2", "--seed", "5"]  # what was drawn before adds no evidence
    again = two.told("eval", "--model", version, *fives(two)[2:], *fresh)
    assert again["model"]["digest"] == learned["model"]["digest"]
    assert two.told("compare", measured["run_id"], again["run_id"])["comparable"]
    promoted = two.told("promote", version)
    assert promoted["decision"] == "promoted"
    assert promoted["held"]["look"] == 2, "one on each machine"
    (decision,) = one.told("runs")["decisions"]
    assert (decision["candidate"], decision["decision"]) == (version, "promoted")
    assert one.told("show", version, "--lineage")["intact"]


def test_two_gates_asked_at_once_decide_one_after_the_other(
    machines: tuple[Machine, Machine], fives: Callable[[Machine], list[str]]
) -> None:
    one, two = machines
    version = learn(one, fives(one))["model"]["name"]
    fives(two)
    here = RegistryTurn(MlflowClient(one.environment[TRACKING]), "gate", "here")
    here.acquire()  # until both have asked
    asked = [machine.start("promote", version, "--json") for machine in machines]
    for process in asked:
        wait_for_a_line(process, "waiting for another decision of the gate, of another machine")
    here.release()
    answers = [process.communicate(timeout=PATIENCE) for process in asked]
    assert sorted(process.returncode for process in asked) == [0, 1], answers
    for machine in machines:
        decided = [made["decision"] for made in machine.told("runs")["decisions"]]
        assert sorted(decided) == ["promoted", "refused"]


def test_gates_that_share_mlflow_alone_take_turns_and_one_that_was_killed_loses_its_own(
    machines: tuple[Machine, Machine], fives: Callable[[Machine], list[str]]
) -> None:
    one, two = machines
    for machine in machines:
        del machine.environment[STORE]
    version = learn(one, fives(one))["model"]["name"]
    registry = MlflowClient(one.environment[TRACKING])
    here = RegistryTurn(registry, "gate", "here")
    here.acquire()
    waiting = one.start("promote", version, "--json")
    wait_for_a_line(waiting, "waiting for another decision of the gate, of another machine")
    here.release()
    wait_for_an_entry(registry, one)
    os.killpg(waiting.pid, signal.SIGKILL)
    began = time.monotonic()
    fives(two)
    refused = two.start("promote", version, "--json")
    wait_for_a_line(refused, "waiting for another decision of the gate, of another machine")
    answer = json.loads(two.ended(refused, code=1).splitlines()[-1])
    assert answer["decision"] == "refused", "it has no tables"
    assert time.monotonic() - began >= SECONDS
    assert one.told("promote", version)["decision"] == "promoted"
    assert registry.search_registered_models(f"name LIKE '{ENTRIES}%'") == []


def test_a_learner_that_was_killed_is_closed_and_gone_on_with_on_the_other_machine(
    machines: tuple[Machine, Machine], fives: Callable[[Machine], list[str]]
) -> None:
    one, two = machines
    learning = one.start("learn", *fives(one), *registered(one))
    fives(two)
    run_id = running(two)
    wait_for_a_step(two, run_id)
    os.killpg(learning.pid, signal.SIGKILL)
    assert status(two, run_id) == "RUNNING", "that it is dead cannot be known at once"
    time.sleep(LEASE_IS_OVER)
    assert status(two, run_id) == "KILLED"
    resumed = two.told("learn", "--resume", run_id)
    assert resumed["run_id"] == run_id
    assert resumed["model"]["digest"] == learn(two, fives(two))["model"]["digest"]


def test_a_learner_that_slept_writes_nothing_once_the_other_machine_has_its_run(
    machines: tuple[Machine, Machine], fives: Callable[[Machine], list[str]]
) -> None:
    one, two = machines
    fives(two)
    learning = one.start("learn", *fives(one), *registered(one))
    run_id = running(two)
    wait_for_a_step(two, run_id)
    os.killpg(learning.pid, signal.SIGSTOP)
    status(two, run_id)
    time.sleep(LEASE_IS_OVER)
    assert status(two, run_id) == "KILLED"
    resumed = two.told("learn", "--resume", run_id)
    before = two.told("show", run_id)
    os.killpg(learning.pid, signal.SIGCONT)
    _, err = learning.communicate(timeout=PATIENCE)
    assert learning.returncode == 2, err
    assert "another machine may have gone on in its place" in err
    assert two.told("show", run_id) == before
    assert status(two, run_id) == "FINISHED"
    listed = [run["run_id"] for run in two.told("runs")["runs"]]
    assert listed.count(resumed["run_id"]) == 1


@pytest.mark.parametrize("verb", ["eval", "learn"])
def test_first_commands_of_both_at_once_make_one_of_each_thing(
    verb: str, machines: tuple[Machine, Machine], fives: Callable[[Machine], list[str]]
) -> None:
    """Neither has a data folder yet, and the servers have no experiment, table or version."""
    options = {"eval": ["--samples", "2"], "learn": registered(machines[0])}[verb]
    asked = [one.start(verb, *fives(one), *options, "--json") for one in machines]
    ended = [one.ended(process) for one, process in zip(machines, asked, strict=True)]
    first, second = (json.loads(said.splitlines()[-1]) for said in ended)
    assert first["run_id"] != second["run_id"]
    assert first["model"]["digest"] == second["model"]["digest"]
    tables = [
        {name: Path(path).name for name, path in run["tables"].items()} for run in (first, second)
    ]
    assert tables[0] == tables[1] != {}
    one, two = machines
    listed = [{run["run_id"]: run["status"] for run in at.told("runs")["runs"]} for at in machines]
    assert listed[0] == listed[1] == {run["run_id"]: "FINISHED" for run in (first, second)}
    assert two.told("show", first["run_id"])["metrics"] == first["metrics"]
    assert one.told("show", second["run_id"])["metrics"] == second["metrics"]
    if verb == "learn":
        assert one.told("show", second["model"]["name"], "--lineage")["intact"]
        assert two.told("show", first["model"]["name"], "--lineage")["intact"]
    assert all(machine.told("doctor")["damaged"] == 0 for machine in machines)


def running(machine: Machine) -> str:
    """The id of the run that goes on; waits until there is one."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = [run for run in machine.told("runs")["runs"] if run["status"] == "RUNNING"]
        if found:
            return str(found[0]["run_id"])
    raise AssertionError("no run began")


def wait_for_a_line(process: subprocess.Popen[str], beginning: str) -> None:
    """Wait until a command says a line on stderr."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.strip().startswith(beginning):
            return
    raise AssertionError(f"it ended without {beginning!r}")


def wait_for_an_entry(registry: MlflowClient, machine: Machine) -> None:
    """Wait until a machine has the turn of the gate, or waits for it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = registry.search_registered_models(f"name LIKE '{ENTRIES}%'")
        if any(f'"{machine.name}:' in (entry.description or "") for entry in found):
            return
        time.sleep(0.1)
    raise AssertionError("it did not take its turn")


def status(machine: Machine, run_id: str) -> str:
    found = {run["run_id"]: run["status"] for run in machine.told("runs")["runs"]}
    return str(found[run_id])


def wait_for_a_step(machine: Machine, run_id: str) -> None:
    """Wait until a run has a checkpoint in the shared store."""
    code = (
        "from artifacts.store.shared.place import shared_store, store_address;"
        "import sys;"
        "print(len(shared_store(store_address()).list(f'checkpoints/{sys.argv[1]}')))"
    )
    environment = os.environ | machine.environment | {"PYTHONPATH": os.pathsep.join(sys.path)}
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        made = subprocess.run(
            [sys.executable, "-c", code, run_id],
            env=environment, cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        if int(made.stdout):
            return
        time.sleep(0.5)
    raise AssertionError("no checkpoint was made")
