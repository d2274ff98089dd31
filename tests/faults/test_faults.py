"""The short form of `make faults`: a sample of every kind of fault, and the list of places."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness import QUICK, Ground, points_met, prepared, run_trials
from tests.faults.points import faults_of_list
from tests.faults.table import table

pytestmark = [
    pytest.mark.untraced,
    pytest.mark.faults,
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
]
KINDS = {
    "SIGKILL, commit point",
    "SIGKILL, random moment",
    "commands at once",
    "server frozen",
    "server restarted",
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A Prefect server, a process that forks commands, and each command run once unharmed."""
    with prepared(tmp_path_factory.mktemp("faults"), print) as found:
        yield found


def test_every_place_that_changes_a_data_folder_is_listed_and_met(ground: Ground) -> None:
    assert faults_of_list(points_met(ground.scenes)) == []


def test_tracing_has_seen_every_file_that_a_command_leaves(ground: Ground) -> None:
    for scene in ground.scenes.values():
        # a folder is written under another name, and renamed when it is whole
        details = "\n".join(event.detail for event in scene.events)
        named = re.sub(r"/\.([^/]+)\.partial/", r"/\1/", details)
        unseen = [path for path in scene.left if path not in named]
        assert unseen == [], scene.name


def test_nothing_is_lost_doubled_or_left_over_in_a_sample(ground: Ground) -> None:
    ran = run_trials(ground, QUICK, seed=0, say=print)
    print(table(ran.harmed))
    assert {outcome.kind for outcome in ran.harmed} >= KINDS
    assert [outcome.line() for outcome in ran.harmed if not outcome.recovered] == []


def test_the_table_goes_between_its_markers(tmp_path: Path) -> None:
    from tests.faults.table import BEGIN, END, write_page

    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_page(table([]), page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| all | 0 |" in text
