"""The command `threeloops`: reads what was asked, starts a verb, turns errors into exit codes."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.cli.experiment import VERBS, add_experiment, in_experiment
from flows.cli.garbage import seldom_searched
from flows.cli.grammar.loops import add_loops
from flows.cli.grammar.one_line_parser import OneLineParser
from flows.cli.grammar.others import add_others
from flows.cli.grammar.past_runs import add_past_runs
from flows.cli.help_texts import EXAMPLES, STORY
from flows.cli.streams import open_standard_streams
from policy.parallel.place import is_follower
from schemas.errors import InputError, ThreeLoopsError

if TYPE_CHECKING:
    from flows.cli.terminal import Terminal
    from schemas.result_parts import ResultModel

TORCH_SAYS = "TORCH_CPP_LOG_LEVEL"  # read when torch is imported


def build_parser() -> OneLineParser:
    """Every verb with its options."""
    parser = OneLineParser(
        prog="threeloops",
        description=STORY,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    parser.verbs = verbs.choices

    def verb(name: str, summary: str, about: str = "") -> argparse.ArgumentParser:
        made = verbs.add_parser(
            name,
            help=summary,
            description=about or summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.add_argument(
            "--json", action="store_true", help="one JSON object as the last line of stdout"
        )
        if name in VERBS:
            add_experiment(made)
        return made

    add_loops(verb)
    add_past_runs(verb)
    add_others(verb)
    return parser


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The verb and its options; InputError for what is not known."""
    parser = build_parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.verbs[options.verb].refuse_unknown(unknown)
    _refuse_bytes(parser.verbs[options.verb], options)
    if "config" in options:
        from flows.cli.config_file import with_file

        options = with_file(options)
    given = vars(options)
    if options.verb == "learn" and given.get("task_runner") and "print_config" not in given:
        from flows.preflight import refuse_workers

        refuse_workers(options.task_runner)  # before several processes meet
    return options


def _refuse_bytes(verb: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """InputError for a text that is not UTF-8: Python keeps its bytes as halves of pairs."""
    for action in verb._actions:
        value = getattr(options, action.dest, None)
        if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
            name = next(iter(action.option_strings), action.dest.upper())
            raise InputError("holds bytes that are not UTF-8 text", f"{name} {value}")


@seldom_searched()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    open_standard_streams()
    _write_any_character()
    words = sys.argv[1:] if arguments is None else arguments
    if [*words[:1]] == ["learn"]:  # of a process that has gone torch says much, and we one line
        os.environ.setdefault(TORCH_SAYS, "ERROR")
    if is_follower(os.environ, words):
        from flows.cli.ranks import follow

        return follow(arguments)
    code = _run(arguments)
    if code == 2 and [*words[:1]] == ["learn"]:
        from flows.cli.ranks import end_who_waits

        end_who_waits()
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        options = parsed(arguments)
    except InputError as error:
        from flows.cli.terminal import Terminal

        Terminal(as_json=True).fail(str(error))
        return 2
    from flows.cli.failures import explained, was_terminated
    from flows.cli.stopping import STOP_SECONDS, UP_SECONDS, ending_when_asked
    from flows.cli.terminal import Terminal

    terminal = Terminal(as_json=options.json)
    with ending_when_asked(UP_SECONDS if options.verb == "up" else STOP_SECONDS) as asked:
        try:
            result = _done(options, terminal)
        except InputError as error:
            terminal.fail(str(error))
            return 2
        except ThreeLoopsError as error:
            terminal.fail(str(error))
            return 1
        except BaseException as error:
            terminated = asked.to_end or was_terminated(error)
            if terminated or isinstance(error, KeyboardInterrupt):
                terminal.fail("stopped")
                asked.to_end = terminated
                return asked.code()
            if isinstance(error, SystemExit | GeneratorExit):  # a panic of Rust is neither
                raise
            line, code = explained(error, None if options.verb == "doctor" else _logs())
            terminal.fail(line)
            return code
    if options.json:
        try:
            print(json.dumps(result.as_json()), flush=True)
        except OSError as error:
            return terminal.not_written(error)
    return int(getattr(result, "exit_code", None) or 0)


def _done(options: argparse.Namespace, terminal: Terminal) -> ResultModel:
    """What the verb answers."""
    from artifacts.store.data_dir import private_files

    with (
        # libraries print to stdout as they like; with --json it holds one object alone
        contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext(),
        contextlib.nullcontext() if options.verb == "export" else private_files(),
        terminal.noting_warnings(),
        in_experiment(options),
    ):
        # the others make a data folder where there is none
        if options.verb == "doctor":
            from flows.cli.verbs.doctor import doctor

            return doctor(options, terminal)
        if "print_config" in options:
            from flows.cli.config_file import print_config

            return print_config(options, terminal)
        if options.verb == "score":
            from flows.cli.verbs.score import score_text

            return score_text(options, terminal)
        from flows.cli.verbs.loops import LOOP_VERBS
        from flows.cli.verbs.past_runs import PAST_VERBS
        from tasks.runtime.runtime import process_runtime

        verb = {**LOOP_VERBS, **PAST_VERBS}[options.verb]
        return verb(process_runtime(), options, terminal)


def _logs() -> Path | None:
    """Where the story of a defect is kept; None where there is no data folder."""
    from artifacts.store.data_dir import LOGS, named_data_folder

    try:
        return named_data_folder() / LOGS
    except InputError:
        return None


def _write_any_character() -> None:
    """Write a character that the terminal's encoding has not as an escape, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
