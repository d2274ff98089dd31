"""Text from elsewhere cannot steer the terminal that it is printed in, and our styles still can."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.progress import Progress as Bars
from rich.text import Text

from flows.cli.console import SafeConsole
from flows.cli.parser import main
from flows.cli.render.results import table
from flows.cli.terminal import LiveBars, Terminal, bar_columns
from schemas.errors import InputError
from tasks.runtime.progress import Message, Progress

TITLE, CLEAR = "\x1b]0;x\x07", "\x1b[2J"
HOSTILE = f"{TITLE}{CLEAR}\u202e\u2028\r\x9b2J\t\u200b"
ESCAPED = r"\u001b]0;x\u0007\u001b[2J\u202e\u2028\r\u009b2J\t\u200b"
FAMILIES = {
    TITLE: r"\u001b]0;x\u0007",
    CLEAR: r"\u001b[2J",
    "\u202e\u2028\r\nx": r"\u202e\u2028\r\nx",
    "[/bold]": "[/bold]",
    "plain": "plain",
}
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def printed(show: Callable[[SafeConsole], None]) -> str:
    """What reaches a terminal with colours."""
    out = io.StringIO()
    show(SafeConsole(file=out, force_terminal=True, width=200, highlight=False, emoji=False))
    return out.getvalue()


@pytest.mark.parametrize(
    "show",
    [
        lambda console: console.print(HOSTILE, style="bold red", markup=False),
        lambda console: console.print(f"[bold red]{HOSTILE}[/]"),
        lambda console: console.print(Text("").append(HOSTILE, style="bold red")),
        lambda console: console.rule(HOSTILE, align="left", style="bold red"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out_and_our_styles_are_kept(
    show: Callable[[SafeConsole], None],
) -> None:
    shown = printed(show)
    assert "\x1b[1;31m" in shown
    plain = STYLE.sub("", shown)
    assert plain.replace("\n", "").isprintable()
    assert r"\u001b]0;x" in plain
    assert r"\u202e\u2028" in plain


def test_a_lone_surrogate_does_not_end_the_command() -> None:
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    SafeConsole(file=out).print("a\ud800b", markup=False)
    out.flush()
    assert out.buffer.getvalue() == b"a\\ud800b\n"


def test_line_breaks_that_we_write_ourselves_are_kept() -> None:
    assert STYLE.sub("", printed(lambda console: console.print("one\n  two"))) == "one\n  two\n"


def test_a_line_that_is_broken_ends_without_the_space() -> None:
    words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen s"
    shown = printed(lambda console: console.print(" ".join([words] * 4), style="bold"))
    lines = STYLE.sub("", shown).splitlines()
    assert len(lines) > 1
    assert all(line == line.rstrip() for line in lines)
    verdict = Text("reward 0", style="red").append(f"  {' '.join([words] * 4)}")
    lines = STYLE.sub("", printed(lambda console: console.print(verdict))).splitlines()
    assert len(lines) > 1
    assert all(line == line.rstrip() for line in lines)


def test_columns_stay_aligned_whatever_their_cells_hold() -> None:
    lines = table("family", "rate", "note")
    lines.add_row(HOSTILE, "5 %", "a")
    lines.add_row("a\nb", "50 %", "longer", style="green")
    lines.add_row("数学", "100 %", "")
    header, *rows = STYLE.sub("", printed(lambda console: console.print(lines))).splitlines()
    assert len(rows) == 3
    edge = header.index("rate") + len("rate")
    for row, (family, rate) in zip(
        rows, [(ESCAPED, "5 %"), (r"a\nb", "50 %"), ("数学", "100 %")], strict=True
    ):
        assert row.startswith(family)
        assert cell_len(row[: row.index(rate) + len(rate)]) == edge


def test_no_line_of_a_table_ends_in_spaces() -> None:
    lines = table("what", "rate", "a wide last column")
    lines.add_row("x", "5 %", "y", style="green")
    lines.add_section()
    lines.add_row("x", "5 %", "")
    shown = printed(lambda console: console.print(lines))
    assert STYLE.sub("", shown).splitlines() == [
        "what  rate  a wide last column", "x      5 %  y", "x      5 %",
    ]  # fmt: skip
    assert "\x1b[32m" in shown


def test_a_bar_and_a_message_show_hostile_names_as_text() -> None:
    out = io.StringIO()
    console = SafeConsole(file=out, force_terminal=True, width=200)
    bars = Bars(*bar_columns(), console=console, auto_refresh=False)
    listener = LiveBars(bars)
    listener(Progress(f"[/red]{HOSTILE}\n", 1, 4, "steps", notes={"[/x]": HOSTILE}))
    listener(Message(f"[/red]{HOSTILE}\nthreeloops: done"))
    console.print(bars.get_renderable())
    plain = STYLE.sub("", out.getvalue())
    assert plain.replace("\n", "").isprintable()
    message, bar = plain.splitlines()[:2]
    assert message == f"[/red]{ESCAPED}\\nthreeloops: done"
    assert bar.startswith(f"[/red]{ESCAPED}\\n")
    assert f"[/x] {ESCAPED}" in bar


def test_a_note_and_a_failure_are_one_line_of_bounded_length(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal = Terminal(as_json=False)
    terminal.note(f"a{HOSTILE}\nb")
    terminal.fail(f"a{HOSTILE}\nb")
    terminal.fail(str(InputError("is too large", f"--limit {'9' * 100_000}", "give fewer")))
    note, failure, long = capsys.readouterr().err.splitlines()
    assert note == rf"a{ESCAPED}\nb"
    assert failure == rf"threeloops: a{ESCAPED}\nb"
    assert long.startswith("threeloops: --limit 999")
    assert long.endswith("9: is too large; give fewer")
    assert len(long) < 2000


@pytest.fixture
def hostile(tmp_path: Path) -> list[str]:
    """A dataset whose names all try to steer the terminal, and its completions."""
    folder = tmp_path / f"{TITLE.replace('/', '')}{CLEAR}\u202e"
    folder.mkdir()
    problems, answers = folder / f"\u2028{CLEAR}.jsonl", folder / f"\r{CLEAR}.jsonl"
    rows = [
        {"id": name, "prompt": f"{HOSTILE}{number}", "expected_answer": number, "family": name}
        for number, name in enumerate(FAMILIES)
    ]
    problems.write_text("\n".join(json.dumps(row) for row in rows))
    made = [{"id": name, "completion": f"Final: 1{HOSTILE}"} for name in FAMILIES]
    answers.write_text("\n".join(json.dumps(row) for row in made))
    return ["--dataset", str(problems), "--completions", str(answers)]


@pytest.mark.slow
def test_no_verb_lets_a_dataset_steer_the_terminal(
    hostile: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def lines(*arguments: str, code: int = 0) -> list[str]:
        assert main(arguments) == code
        captured = capsys.readouterr()
        shown = (captured.out + captured.err).splitlines()
        assert all(line.isprintable() for line in shown)
        return shown

    shown = lines("eval", *hostile)
    header = next(line for line in shown if line.startswith("family"))
    for family in FAMILIES.values():
        (row,) = [line for line in shown if line.startswith(f"{family} ")]
        assert row.index("0 %") + len("0 %") == header.index("pass@1") + len("pass@1")
    run = shown[-1 if shown[-1].startswith("instrument") else -2].rpartition(" ")[2]
    lines("show", run)
    lines("runs", "--failures", "--limit", "1")
    lines("rescore", run, "--scorer", "contains_int@1")
    assert main(["show", run, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.out.isascii()
    assert json.loads(captured.out)["rows"][0]["prompt"] == f"{HOSTILE}0"
    assert all(line.isprintable() for line in captured.err.splitlines())
    lines("show", f"no{HOSTILE}\nrun", code=2)
    lines("eval", "--model", f"no{HOSTILE}", code=2)
    lines("eval", "--scorer", f"no{HOSTILE}", code=2)
    lines("eval", "--dataset", f"no{HOSTILE}\udc80", code=2)
    lines("eval", "--split", f"{HOSTILE}\ud800", code=2)
    lines("compare", run, f"{run}:{HOSTILE}", code=2)


@pytest.mark.parametrize("field", ["id", "family", "split", "prompt", "expected_answer"])
def test_half_a_surrogate_pair_in_a_dataset_is_refused_in_a_readable_line(
    field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row: dict[str, object] = {"id": "1", "prompt": "1?", "expected_answer": 1, "split": "holdout"}
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(row | {field: f"{CLEAR}\ud800"}))
    assert main(["eval", "--dataset", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert f"{field} " in line
    assert "row 1" in line


def test_a_character_that_the_terminal_has_not_is_written_as_an_escape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stderr", out)
    assert main(["show", "né"]) == 2
    out.flush()
    assert b"run n\\xe9: no such run" in out.buffer.getvalue()
