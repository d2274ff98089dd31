"""What the doctor prints: the damage first, each kind once, the verdict last."""

from __future__ import annotations

import io

from rich.console import Console

from artifacts.doctor.examination import finding
from artifacts.doctor.meanings import MEANINGS
from flows.cli.console import SafeConsole
from flows.cli.render.doctor import print_doctor
from schemas.health import Checked, DoctorOutput, Finding


def _shown(*findings: Finding, repaired: tuple[Finding, ...] = (), exists: bool = True) -> str:
    console: Console = SafeConsole(file=io.StringIO(), width=80)
    damaged = sum(one.level == "damage" for one in findings)
    output = DoctorOutput(
        folder="/tmp/home",
        exists=exists,
        checked=Checked(tables=1, keys=2),
        damaged=damaged,
        findings=findings,
        repaired=repaired,
        set_aside="/tmp/home/set-aside/1" if repaired else None,
    )
    print_doctor(console, output)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_damage_comes_first_and_the_verdict_last() -> None:
    remark = finding("dead-run", "run eval-1", "gone")
    tables = [finding("changed-table", f"tables/scores/{one}", "other bytes") for one in range(9)]
    shown = _shown(remark, *tables)
    assert shown.index("changed-table  (9)") < shown.index("dead-run")
    assert "and 5 more; --json names them all" in shown
    assert shown.count("what was measured with it") == 1
    assert shown.rstrip().endswith("Not well: 9 damaged, 1 remark.")
    assert "1 table, 2 keys" in shown


def test_digests_are_cut_and_what_a_terminal_obeys_is_written_out() -> None:
    where = f"tables/scores/{'a' * 64}.parquet"
    shown = _shown(finding("changed-table", where, "it says \x1b[31m"))
    assert f"tables/scores/{'a' * 12}….parquet" in shown
    assert "\x1b" not in shown


def test_no_line_ends_in_spaces_and_no_path_is_cut_in_two() -> None:
    path = f"/home/{'deep/' * 30}report.html"
    shown = _shown(finding("missing-table", f"tables/{'x' * 90}", f"of {path} is not there"))
    assert path in shown
    assert [line for line in shown.splitlines() if line != line.rstrip()] == []
    assert "  means what was measured" in shown
    assert "\n  do    `threeloops doctor --repair`" in shown


def test_what_was_repaired_is_said_with_where_it_went() -> None:
    done = finding("half-written-file", "a", "b").model_copy(update={"repaired": "set aside"})
    shown = _shown(repaired=(done,))
    assert "Repaired\nhalf-written-file\n  a\n    set aside" in shown
    assert "/tmp/home/set-aside/1" in shown
    assert shown.rstrip().endswith("Well: nothing found.")


def test_a_folder_that_is_not_there_is_no_fault() -> None:
    assert "It is not there yet" in _shown(exists=False)


def test_every_meaning_says_what_follows_and_what_to_do() -> None:
    assert len(MEANINGS) > 30
    for name, meaning in MEANINGS.items():
        assert min(len(meaning.means), len(meaning.advice)) > 5, name
