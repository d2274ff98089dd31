"""`learn` in one of several processes: what all of them compare, and when they do not meet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.cli.parser import main
from policy.parallel.place import Place
from schemas.errors import InputError

As = Callable[..., int]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, str]]:
    """What each process that was to join others said of itself; none of them meets another."""
    said: list[Mapping[str, str]] = []

    @contextmanager
    def joined(
        place: object, compute: object, identity: Mapping[str, str], *_: Any
    ) -> Iterator[None]:
        said.append(identity)
        raise InputError("nobody else is there")
        yield

    monkeypatch.setattr("policy.parallel.join.joined", joined)
    monkeypatch.setattr("flows.cli.ranks._show_nothing", lambda: None)
    return said


@pytest.fixture
def as_rank(monkeypatch: pytest.MonkeyPatch, data_dir: object) -> As:
    """The exit code of a command in the process of a rank, of two."""

    def run(rank: int, *words: str) -> int:
        places = {"WORLD_SIZE": "2", "RANK": str(rank), "MASTER_ADDR": "x", "MASTER_PORT": "29500"}
        with monkeypatch.context() as patched:
            for name, value in places.items():
                patched.setenv(name, value)
            return main(["learn", *words])

    return run


def test_processes_with_one_command_say_the_same_of_themselves(
    compared: list[Mapping[str, str]], as_rank: As
) -> None:
    for rank in range(2):
        assert as_rank(rank, "--steps", "3", "--experiment", "mine", "--json") == 2
    first, second = compared
    assert first == second
    assert first["steps"] == "3"


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Which processes told the others, at once, that they do not take part, and why."""
    said: list[tuple[int, str]] = []

    def refuse(place: Place, error: Exception | None = None) -> None:
        said.append((place.rank, str(error or "")))

    monkeypatch.setattr("policy.parallel.join.refuse", refuse)
    monkeypatch.setattr("flows.cli.ranks._met", False)
    return said


@pytest.mark.parametrize("rank", [0, 1])
def test_who_cannot_begin_says_so_to_the_others_which_wait_for_it(
    compared: list[Mapping[str, str]],
    refused: list[tuple[int, str]],
    as_rank: As,
    rank: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    why = "--no-such-option"
    assert as_rank(rank, why) == 2
    (tmp_path / "file").touch()
    with monkeypatch.context() as patched:
        patched.setenv("THREELOOPS_HOME", str(tmp_path / "file" / "home"))
        assert as_rank(rank, "--steps", "3") == 2
    assert [told for told, _ in refused] == [rank, rank]
    if rank:  # the first has said it itself
        assert why in refused[0][1]
        assert str(tmp_path / "file") in refused[1][1]
    assert compared == []


def test_who_has_met_the_others_does_not_wait_for_them_again(
    compared: list[Mapping[str, str]], refused: list[tuple[int, str]], as_rank: As
) -> None:
    assert as_rank(0, "--steps", "3") == 2
    assert len(compared) == 1
    assert refused == []


def test_a_task_runner_is_refused_by_the_first_alone_and_nobody_is_waited_for(
    compared: list[Mapping[str, str]],
    refused: list[tuple[int, str]],
    as_rank: As,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert [as_rank(rank, "--task-runner", "dask") for rank in range(2)] == [2, 2]
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.startswith("threeloops: --task-runner dask: a policy that learns is sampled where")
    assert compared == []
    assert [rank for rank, _ in refused] == [0, 1], "one that has none ends too"


def test_who_follows_one_that_prints_its_configuration_has_nothing_to_do(
    compared: list[Mapping[str, str]], as_rank: As, capfd: pytest.CaptureFixture[str]
) -> None:
    assert as_rank(1, "--print-config") == 0
    assert capfd.readouterr().out == ""
    assert as_rank(0, "--print-config") == 0
    assert "steps: 100" in capfd.readouterr().out
    assert compared == []


@pytest.mark.parametrize(("words", "said"), [(["learn"], "ERROR"), (["eval"], None)])
def test_torch_keeps_its_warnings_of_lost_connections_to_itself(
    words: list[str],
    said: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "")  # put back afterwards
    monkeypatch.delenv("TORCH_CPP_LOG_LEVEL")
    assert main([*words, "--no-such-option"]) == 2
    assert os.environ.get("TORCH_CPP_LOG_LEVEL") == said
