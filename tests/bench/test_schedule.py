"""The simulated schedule against schedules that were worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.schedule import (
    BAR,
    Costs,
    Measured,
    main,
    predicted,
    read_table,
    simulate,
    uneven,
)

FREE = Costs(shared=0.0, own=0.0)
PRINTED = """\
| completions of the default model | seconds | a second |
|---|---|---|
| one process, 2 threads | 9.1 | 84.4 |
| 2 workers of dask | 10.0 | 76.8 |

| workers | 40 naps of 0.5 s | ideal | ms a shard without work | processes |
|---|---|---|---|---|
| 1 | 24.4 s | 20.0 s | 110 | 1 |
| 2 | 12.3 s | 10.0 s | 60 | 2 |
| 4 | {} s | 5.0 s | 50 | 4 |

What the 2 cores did for a shard without work:

| workers | CPU ms of the one process | of a worker | of everything |
|---|---|---|---|
| 1 | 30 | 100 | 150 |
| 2 | 40 | 100 | 160 |
| 4 | 40 | 120 | 200 |
"""


@pytest.mark.parametrize(
    ("workers", "seconds"), [(1, 12.0), (2, 6.0), (4, 4.0), (6, 2.0), (9, 2.0)]
)
def test_equal_shards_without_costs_take_whole_rounds(workers: int, seconds: float) -> None:
    found = simulate([2.0] * 6, workers, FREE)
    assert found.seconds == seconds
    assert found.busy == pytest.approx(12.0 / (workers * seconds))


def test_a_worker_takes_the_next_shard_when_it_is_free() -> None:
    # the first worker has the long one, the second the three short ones
    assert simulate([3.0, 1.0, 1.0, 1.0], 2, FREE).seconds == 3.0
    # handed over last, the long one begins when the short ones are done
    assert simulate([1.0, 1.0, 1.0, 3.0], 2, FREE).seconds == 4.0


def test_the_cost_in_the_worker_is_of_each_of_its_shards() -> None:
    assert simulate([1.0] * 4, 2, Costs(shared=0.0, own=0.25)).seconds == 2.5


def test_the_one_process_is_ahead_of_its_workers_where_they_take_longer() -> None:
    # the first shard waits for it; the others are handed over while a worker works
    assert simulate([1.0] * 4, 1, Costs(shared=0.25, own=0.0)).seconds == 4.25


def test_the_one_process_holds_back_more_workers_than_it_can_feed() -> None:
    # handed over at 1, 2, 3, 4 s, whoever is free
    found = simulate([0.5] * 4, 100, Costs(shared=1.0, own=0.0))
    assert found.seconds == 4.5


def test_processes_that_share_cores_slow_each_other_down() -> None:
    # both are handed over at 2 s, for the one process has a core; then two workers share it
    costs = Costs(shared=1.0, own=3.0)
    # at 1 s the first worker begins, at 1 to 3 s it has half a core, as the one process has; from
    # then on it shares with the other: at 7 s it has had its 3 s, and the other has its own at 8 s
    assert simulate([0.0] * 2, 2, costs, cores=1).seconds == 8.0
    assert simulate([0.0] * 2, 2, costs, cores=2).seconds == 5.0


def test_servers_take_their_part_of_the_cores_but_nobody_waits_for_them() -> None:
    costs = Costs(shared=0.0, own=1.0, servers=1.0)
    assert simulate([0.0], 1, costs).seconds == 1.0
    assert simulate([0.0], 1, costs, cores=1).seconds == 2.0, "each had half of the core"


def test_naps_take_no_core() -> None:
    costs = Costs(shared=0.0, own=0.5)
    assert simulate([2.0] * 2, 2, costs, cores=1).seconds == 3.0
    assert simulate([2.0] * 2, 2, costs, cores=2).seconds == 2.5


def test_costs_are_those_of_shards_without_work_with_as_many_workers() -> None:
    each = {1: Costs(0.05, 0.11), 2: Costs(0.05, 0.61)}
    measured = Measured(40, 0.5, cores=9, slept={1: 99.0, 2: 99.0}, costs=each)
    by_workers = predicted(measured)
    assert by_workers[1] == pytest.approx(0.05 + 40 * 0.61)
    assert by_workers[2] == pytest.approx(0.1 + 20 * 1.11)


def test_what_the_bench_of_workers_prints_is_read() -> None:
    read = read_table(PRINTED.format(6.3))
    assert (read.naps, read.nap_seconds, read.cores) == (40, 0.5, 2)
    assert read.slept == {1: 24.4, 2: 12.3, 4: 6.3}
    assert set(read.costs) == {1, 2, 4}
    four = read.costs[4]
    assert (four.shared, four.own, four.servers) == pytest.approx((0.04, 0.12, 0.04))


@pytest.mark.parametrize(("seconds", "code"), [(7.0, 0), (5.0, 1)])
def test_a_prediction_that_is_off_is_said(
    seconds: float,
    code: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = tmp_path / "table.md"
    table.write_text(PRINTED.format(seconds))
    words = ["bench.schedule", str(table), "--rate", "20", "--read", "0.35"]
    monkeypatch.setattr("sys.argv", words)
    assert main() == code
    said = capsys.readouterr().out
    assert "| 1 | 30, 100, 20 | 24.4 s | 24.0 s | -1.5 % |" in said
    assert "| 64 | 15,625 | 204.8 s |" in said
    # 204.8 s of work in a shard, 0.03 s to hand it over and 0.35 s to read it
    assert "takes 0.38 s of its own\nfor each, which keeps 539 such workers busy." in said


def test_with_costs_nothing_is_predicted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["bench.schedule", "--costs", "0.05", "0.11", "--rate", "20", "--read", "0.35"]
    monkeypatch.setattr("sys.argv", words)
    assert main() == 0
    said = capsys.readouterr().out
    assert "measured" not in said
    assert "for each, which keeps 512 such workers busy." in said


def test_what_is_no_table_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "table.md"
    table.write_text("nothing")
    monkeypatch.setattr("sys.argv", ["bench.schedule", str(table)])
    assert main() == 2
    assert capsys.readouterr().err.startswith("bench.schedule: this is not what")


@pytest.mark.parametrize("rate", ["0", "-20", "nan", "inf"])
@pytest.mark.parametrize("costs", [[], ["--costs", "0.05", "0.11"]])
def test_workers_that_make_nothing_are_refused_in_a_line(
    costs: list[str],
    rate: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = tmp_path / "table.md"
    table.write_text(PRINTED.format(6.3))
    words = ["bench.schedule", str(table), "--rate", rate, *costs]
    monkeypatch.setattr("sys.argv", words)
    assert main() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"bench.schedule: --rate {rate}: a worker makes more than 0\n"


def test_uneven_shards_have_their_mean() -> None:
    works = uneven(10_000, 2.0)
    assert sum(works) / len(works) == pytest.approx(2.0, rel=0.01)
    assert 1.5 <= min(works) < max(works) <= 2.5
    assert 0 < BAR < 1
