"""`learn` in two processes: one result, the same weights, and an end for both where one is gone."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from artifacts.runs.resuming import made_steps
from artifacts.store.data_dir import DataDir
from artifacts.tracking.archive import Archive
from flows.cli.ranks import ROOMS, ROOT
from schemas.identity import file_digest
from schemas.loops import AFTER, BEFORE
from tests.ranks import Ended, Rank, alone, as_srun, as_torchrun, free_port, run_ranks, started

pytestmark = pytest.mark.engines

COMMAND = ["-m", "threeloops", "learn", "--json"]
# with two problems a step each process has one, and one process makes a pass of each; with so many
# samples of that length some are right, so that there is something to learn
SETTINGS = [
    "--steps", "6", "--problems-per-step", "2", "--samples", "32", "--max-tokens-per-pass", "1",
    "--limit", "4", "--evaluation-samples", "2", "--dev-every", "3", "--shard-size", "2",
    "--learning-rate", "1e-3", "--kl-weight", "0.1", "--max-new-tokens", "8", "--device", "cpu",
]  # fmt: skip
MAX_KL = "0.03"  # which the fourth step is above, and the policy after the first is within
LONG = ["--steps", "40", "--checkpoint-every", "2", "--dev-every", "0"]
Words = Sequence[str]


@pytest.fixture
def words(tiny: str, small_sums: str) -> list[str]:
    return [*COMMAND, *SETTINGS, "--model", tiny, "--dataset", small_sums]


def home(folder: Path) -> dict[str, str]:
    """A data folder of the process's own."""
    return {"THREELOOPS_HOME": str(folder)}


def result_of(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.err
    (line,) = ended.out.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def weights(result: Mapping[str, Any]) -> str:
    return file_digest(Path(result["model"]["folder"]) / "model.safetensors")


def in_one(words: Words, folder: Path) -> dict[str, Any]:
    return result_of(run_ranks(words, [{}], folder / "out", **home(folder / "home"))[0])


def in_two(words: Words, folder: Path, places: Sequence[Mapping[str, str]]) -> list[Ended]:
    return run_ranks(words, places, folder / "out", **home(folder / "home"))


def torchrun() -> list[str]:
    return [
        *("-m", "torch.distributed.run"),
        *("--nproc-per-node", "2", "--master-port", str(free_port())),
    ]


def test_two_processes_of_torchrun_learn_what_one_does(
    words: list[str], tiny: str, tmp_path: Path
) -> None:
    one = in_one(words, tmp_path / "one")
    assert weights(one) != file_digest(Path(tiny) / "model.safetensors"), "something was learned"
    done = subprocess.run(
        [sys.executable, *torchrun(), *words],
        env={**alone(), **home(tmp_path / "two" / "home")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    two = result_of(Ended(0, done.stdout, done.stderr, 0.0))
    assert weights(two) == weights(one)
    assert two["metrics"] == pytest.approx(one["metrics"] | times(two["metrics"]), rel=1e-4)
    assert two["outcomes"] == one["outcomes"]
    assert measured_tables(two) == measured_tables(one)
    steps = sampled_in_steps(tmp_path / "one", one)
    assert sorted(steps) == [1, 2, 3, 4, 5, 6]
    assert sampled_in_steps(tmp_path / "two", two) == steps
    said = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(said) == len(set(said)), "nothing is shown twice"


def measured_tables(result: Mapping[str, Any]) -> dict[str, str]:
    """What was measured before and after, by the digests that name the tables."""
    names = [f"{kind}_{stage}" for kind in ("completions", "scores") for stage in (BEFORE, AFTER)]
    return {name: Path(result["tables"][name]).stem for name in names}


def sampled_in_steps(folder: Path, result: Mapping[str, Any]) -> dict[int, Any]:
    """The tokens of every completion that was learned from, and its reward, by step."""
    archive = Archive(DataDir(folder / "home"))
    tables = made_steps(archive, result["run_id"])
    columns = ["problem_id", "sample_index", "token_ids", "finish_reason", "reward"]
    return {step: archive.store.read(table).select(columns) for step, table in tables.items()}


def times(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if "seconds" in name}


def test_tasks_of_srun_learn_together_with_split_weights(words: list[str], tmp_path: Path) -> None:
    leader, other = in_two([*words, "--shard-weights"], tmp_path, as_srun(2))
    result = result_of(leader)
    assert (other.code, other.out, other.err) == (0, "", "")
    # another path through the model, so only nearly what one process learns
    one = in_one(words, tmp_path / "one")
    assert result["metrics"]["kl_nats"] == pytest.approx(one["metrics"]["kl_nats"], abs=1e-3)


def test_a_step_that_is_refused_ends_both_and_the_last_good_policy_is_that_of_one_process(
    words: list[str], tmp_path: Path
) -> None:
    limited = [*words, "--max-kl", MAX_KL]
    (one,) = run_ranks(limited, [{}], tmp_path / "one", **home(tmp_path / "one" / "home"))
    two = tmp_path / "two"
    with started(limited, as_torchrun(2), two, **home(two / "home")) as ranks:
        leader = ranks[0].wait()
        other = ranks[1].wait(60)
    assert (other.out, other.err) == ("", "")
    assert (one.code, leader.code) == (1, 1)
    said = [refusal(one), refusal(leader)]
    assert said[0] == said[1]
    assert said[0].startswith("threeloops: learning stopped at step 4: ")
    assert f"above --max-kl {MAX_KL}" in said[0]
    kept = [last_good(tmp_path / name) for name in ("one", "two")]
    assert kept[0] == kept[1]


def refusal(ended: Ended) -> str:
    """The only line that says why a command ended, up to where it speaks of its own files."""
    (line,) = [line for line in ended.err.splitlines() if line.startswith("threeloops: ")]
    return line.partition(";")[0]


def last_good(folder: Path) -> tuple[str, str]:
    """The only checkpoint that was kept, and the digest of its weights."""
    (kept,) = folder.glob("home/checkpoints/*/step-*/learner/weights.safetensors")
    return kept.parents[1].name, file_digest(kept)


def until_a_checkpoint(folder: Path, ranks: Sequence[Rank], step: int) -> None:
    until = time.monotonic() + 240
    while not list(folder.glob(f"home/checkpoints/*/step-{step:06d}/*.json")):
        assert time.monotonic() < until, ranks[0].err.read_text()
        assert all(rank.process.poll() is None for rank in ranks), ranks[0].err.read_text()
        time.sleep(0.05)


@pytest.mark.timeout(900)
def test_a_process_that_is_killed_ends_the_other_in_a_minute_and_resume_makes_the_same_weights(
    words: list[str], tmp_path: Path
) -> None:
    long = [*words, *LONG]
    harmed = tmp_path / "harmed"
    with started(long, as_torchrun(2), harmed / "out", **home(harmed / "home")) as ranks:
        until_a_checkpoint(harmed, ranks, 4)
        ranks[1].process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        leader = ranks[0].wait(90)
    assert leader.at - killed < 60
    assert leader.code == 1
    lines = [line for line in leader.err.splitlines() if line.startswith("threeloops: ")]
    (line,) = lines
    assert line.startswith(f"threeloops: rank 1 (process {ranks[1].process.pid} on ")
    name = line.rpartition("--resume ")[2]

    resumed, _ = in_two([*COMMAND, "--resume", name], harmed, as_torchrun(2))
    unharmed, _ = in_two(long, tmp_path / "unharmed", as_torchrun(2))
    assert weights(result_of(resumed)) == weights(result_of(unharmed))


@pytest.mark.timeout(900)
def test_torchrun_ends_all_where_one_is_killed_and_starts_what_goes_on(
    words: list[str], tmp_path: Path
) -> None:
    long, out = [*torchrun(), *words, *LONG], tmp_path / "out"
    with started(long, [{}], out, **home(tmp_path / "home")) as (started_by,):
        until_a_checkpoint(tmp_path, [started_by], 2)
        learners = {
            one.environ()["RANK"]: one
            for one in psutil.Process(started_by.process.pid).children()
            if "RANK" in one.environ()
        }
        learners["1"].kill()
        killed = time.monotonic()
        ended = started_by.wait(90)
    assert ended.at - killed < 60
    assert ended.code != 0
    psutil.wait_procs(learners.values(), 1)
    assert not learners["0"].is_running()
    (line,) = [line for line in ended.err.splitlines() if line.startswith("go on with: ")]
    resume = [*COMMAND, "--resume", line.rpartition("--resume ")[2], "--max-minutes", "0.01"]
    (goes_on,) = run_ranks([*torchrun(), *resume], [{}], out, **home(tmp_path / "home"))
    assert result_of(goes_on)["ended_by"] == "time"


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_a_run_goes_on_in_another_number_of_processes_and_says_what_that_changes(
    words: list[str], tmp_path: Path, first: int, then: int
) -> None:
    def places(count: int) -> list[dict[str, str]]:
        return [{}] if count == 1 else as_torchrun(count)

    words = [*words, "--steps", "12", "--checkpoint-every", "2"]
    harmed = tmp_path / "harmed"
    with started(words, places(first), harmed / "out", **home(harmed / "home")) as ranks:
        until_a_checkpoint(harmed, ranks, 4)
    (run,) = harmed.glob("home/checkpoints/*")
    leader, *_ = run_ranks(
        [*COMMAND, "--resume", run.name], places(then), harmed / "out", **home(harmed / "home")
    )
    # the passes are those of one process here, so even the last bits are
    assert weights(result_of(leader)) == weights(in_one(words, tmp_path / "one"))
    (warning,) = [line for line in leader.err.splitlines() if line.startswith("warning: up to")]
    (before, after) = warning.split(" and goes on with ")
    assert ("2 ranks" in before, "2 ranks" in after) == (first == 2, then == 2)


def test_the_others_record_nothing(words: list[str], tmp_path: Path) -> None:
    """Each process has a data folder of its own, as on hosts that share none."""
    places = [place | home(tmp_path / place["RANK"]) for place in as_torchrun(2)]
    leader, other = run_ranks(words, places, tmp_path / "out")
    result_of(leader)
    assert (other.code, other.out, other.err) == (0, "", "")
    left = {path.name for path in (tmp_path / "1").iterdir()}
    assert left <= {"models", "locks"}


@pytest.mark.timeout(900)
def test_where_the_first_process_is_killed_the_second_says_so(
    words: list[str], tmp_path: Path
) -> None:
    with started([*words, *LONG], as_torchrun(2), tmp_path, **home(tmp_path / "home")) as ranks:
        until_a_checkpoint(tmp_path, ranks, 2)
        ranks[0].process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        other = ranks[1].wait(90)
    assert other.at - killed < 60
    assert other.code == 1
    (line,) = other.err.splitlines()
    assert line.startswith(f"threeloops: rank 0 (process {ranks[0].process.pid} on ")
    assert "go on with: threeloops learn --resume RUN" in line


Change = Callable[[list[dict[str, str]]], list[dict[str, str]]]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--problems-per-step", "1"], "--problems-per-step 1: 2 processes share the problems"),
        (["--samples", "1"], "--samples 1: the baseline leave_one_out compares completions"),
        (["--shard-weights", "--adapter", "lora"], "--shard-weights: an adapter is small"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_bad_input_is_one_line_of_the_first_process(
    words: list[str], tmp_path: Path, given: list[str], said: str
) -> None:
    leader, other = in_two([*words, *given], tmp_path, as_torchrun(2))
    assert leader.code == 2
    (line,) = [line for line in leader.err.splitlines() if line.startswith("threeloops: ")]
    assert said in line
    assert (other.out, other.err) == ("", "")
    assert not (tmp_path / "home" / "checkpoints").exists()


def test_a_host_that_lacks_the_model_is_named_before_anything_begins(
    words: list[str], tiny: str, tmp_path: Path
) -> None:
    places = as_torchrun(2)
    for name, place in zip(("has", "lacks"), places, strict=True):
        (tmp_path / name).mkdir()
        place |= home(tmp_path / name / "home") | {"HOME": str(tmp_path / name)}
    shutil.copytree(tiny, tmp_path / "has" / "model")
    leader, other = run_ranks([*words, "--model", "~/model"], places, tmp_path / "out")
    assert leader.code == 2
    (line,) = [line for line in leader.err.splitlines() if line.startswith("threeloops: ")]
    assert line.startswith("threeloops: rank 1 (process ")
    assert "no such folder" in line
    assert (other.out, other.err) == ("", "")
    assert not (tmp_path / "has" / "home" / "checkpoints").exists()


@pytest.mark.parametrize("who", [0, 1])
def test_what_one_process_alone_was_given_and_cannot_use_ends_all_at_once(
    words: list[str], tmp_path: Path, who: int
) -> None:
    places, here = as_torchrun(2), home(tmp_path / "home")
    wrong, right = [*words, "--task-runner", "threads"], words
    with (
        started(wrong, [places[who]], tmp_path / "wrong", **here) as one,
        started(right, [places[1 - who]], tmp_path / "right", **here) as another,
    ):
        refusing, waiting = one[0].wait(), another[0].wait()
    assert abs(waiting.at - refusing.at) < 60
    leader, other = (refusing, waiting) if who == 0 else (waiting, refusing)
    assert leader.code == 2
    (line,) = [line for line in leader.err.splitlines() if line.startswith("threeloops: ")]
    assert "--task-runner threads: a policy that learns is sampled where it learns" in line
    assert line.startswith("threeloops: rank 1 (process ") == (who == 1)
    assert (other.out, other.err) == ("", "")
    assert not (tmp_path / "home" / "checkpoints").exists()


def test_processes_that_are_not_told_where_they_meet_say_so_once(
    words: list[str], tmp_path: Path
) -> None:
    lost = [{"WORLD_SIZE": "2", "RANK": str(rank)} for rank in range(2)]
    leader, other = in_two(words, tmp_path, lost)
    assert (leader.code, other.code) == (2, 2)
    (line,) = leader.err.splitlines()
    assert "WORLD_SIZE=2 without MASTER_ADDR" in line
    assert other.err == ""


def test_one_process_cannot_split_weights(words: list[str], tmp_path: Path) -> None:
    (alone_,) = run_ranks([*words, "--shard-weights"], [{}], tmp_path, **home(tmp_path / "home"))
    assert alone_.code == 2
    assert "--shard-weights: there is one process" in alone_.err


def test_a_process_with_other_options_is_named_and_nothing_begins(
    words: list[str], tmp_path: Path
) -> None:
    places = as_torchrun(2)
    with (
        started(words, places[:1], tmp_path / "first", **home(tmp_path / "home")) as first,
        started(
            [*words, "--samples", "8"], places[1:], tmp_path / "other", **home(tmp_path / "home")
        ) as other,
    ):
        leader, follower = first[0].wait(), other[0].wait()
    assert leader.code == 2
    (line,) = leader.err.splitlines()
    assert "has another samples (8) than rank 0 (32)" in line
    assert follower.err == ""


def test_a_process_with_other_code_is_named_and_nothing_begins(
    words: list[str], tmp_path: Path
) -> None:
    other_code = tmp_path / "code"
    for room in (*ROOMS, "threeloops"):
        shutil.copytree(ROOT / room, other_code / room, ignore=shutil.ignore_patterns("*.pyc"))
    with (other_code / "policy" / "learning" / "objective.py").open("a") as changed:
        changed.write("# something else\n")
    places = as_torchrun(2)
    places[1] |= {"PYTHONPATH": str(other_code), "PYTHONSAFEPATH": "1"}
    leader, other = in_two(words, tmp_path, places)
    assert leader.code == 2
    (line,) = leader.err.splitlines()
    assert "rank 1 on " in line
    assert "has another code" in line
    assert (other.out, other.err) == ("", "")
