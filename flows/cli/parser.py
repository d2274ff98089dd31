"""The command `threeloops`: reads what was asked, starts a verb, turns errors into exit codes."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from flows.cli.help_texts import (
    ASK,
    COMPARE,
    DEMO,
    DOCTOR,
    EVAL,
    EXAMPLES,
    EXPORT,
    LEARN,
    PROMOTE,
    RESCORE,
    RUNS,
    SCORE,
    SELECT,
    SHOW,
    STORY,
    SYNC,
    TOKENS,
    UP,
)
from flows.cli.options import add_config_file, add_options, number, whole_number
from flows.cli.streams import open_standard_streams
from schemas.config import EvalConfig, LearningConfig, SelectionConfig
from schemas.errors import InputError, ThreeLoopsError
from schemas.instrument import Instrument

if TYPE_CHECKING:
    from flows.cli.terminal import Terminal
    from schemas.result_parts import ResultModel

INTERRUPTED, TERMINATED = 130, 143  # exit codes, as shells give them
FINISH_REASONS = ("stop", "length")
SHARED = (
    "model", "dataset", "columns", "split", "limit", "seed", "template", "scorer", "sampling",
    "device",
)  # fmt: skip


class OneLineParser(argparse.ArgumentParser):
    """argparse, which says a mistake as an error of ours instead of in two lines."""

    verbs: Mapping[str, OneLineParser]  # the parser of each verb, in that of all

    def error(self, message: str) -> NoReturn:
        """InputError with what argparse says, and where help is."""
        verb = self.prog.removeprefix("threeloops").strip()
        what = message.removeprefix("argument ")
        raise InputError(what, verb, f"`{self.prog} --help` says what can be given")

    def refuse_unknown(self, words: Sequence[str]) -> NoReturn:
        """InputError for words that nothing stands for, with the option that was probably meant."""
        known = [name for action in self._actions for name in action.option_strings]
        close = difflib.get_close_matches(words[0].partition("=")[0], known, 1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise InputError(
            f"unrecognized arguments: {' '.join(words)}",
            self.prog.removeprefix("threeloops").strip(),
            f"{meant}`{self.prog} --help` says what can be given",
        )


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
        return made

    demo = verb("demo", "all three loops: measure, select, learn, measure again", DEMO)
    add_options(demo, LearningConfig, ("model", "dataset", "limit", "seed", "steps"))

    made = verb("eval", "loop A: pass rate, and why completions fail; changes nothing", EVAL)
    add_options(made, EvalConfig, ("samples", "completions", "shard_size", *SHARED))
    add_config_file(made)

    made = verb("select", "loop B: sample N, pick one; changes which output is used", SELECT)
    add_options(made, SelectionConfig, ("samples", "pick", "completions", "shard_size", *SHARED))
    add_config_file(made)

    made = verb("learn", "loop C: policy gradient with a KL penalty; changes the model", LEARN)
    add_options(
        made,
        LearningConfig,
        ("steps", "problems_per_step", "samples", "learning", "evaluation_samples", "train_split",
         "dev_every", "dev_samples", "dev_limit", "max_kl_nats", "checkpoint_every",
         "keep_checkpoints", "register_as", "shard_size", *SHARED),
    )  # fmt: skip
    add_config_file(made)
    made.add_argument(
        "--resume",
        metavar="RUN",
        help="continue a learning run that ended early, with its own settings",
    )

    made = verb("rescore", "score stored completions with another scorer: what changed", RESCORE)
    made.add_argument(
        "run", metavar="RUN", nargs="?", help="a run id, a completions table or a JSONL file"
    )
    made.add_argument(
        "--golden",
        metavar="FILE",
        help="instead of RUN: check the scorer on rows with known rewards",
    )
    add_options(made, EvalConfig, ("scorer", "dataset", "columns", "limit"))
    _rows(made, "rows to show of each group that changed")

    made = verb("compare", "two runs: same instrument? which is better, by how much?", COMPARE)
    made.add_argument("a", metavar="A", help="a run, RUN:before, RUN:after or RUN:RULE")
    made.add_argument("b", metavar="B", help="another run; the difference is B's rate minus A's")
    made.add_argument(
        "--allow",
        action="append",
        choices=list(Instrument.model_fields),
        metavar="PART",
        help="this part of the instrument may differ",
    )
    _rows(made, "problems to show that flipped, in each direction")

    made = verb("promote", "the gate: a model version becomes the champion on evidence", PROMOTE)
    made.add_argument("version", metavar="models:/NAME/VERSION", help="or models:/NAME@candidate")
    made.add_argument(
        "--min-gain", type=number, default=0.0, metavar="X",
        help="the gain's interval must be above this rate: 0.02 is two points; default 0",
    )  # fmt: skip

    made = verb("runs", "what has been run, and what the gate decided", RUNS)
    made.add_argument("--loop", choices=("A", "B", "C"), help="only this loop")
    made.add_argument("--model", metavar="NAME", help="part of a model's name, or its digest")
    made.add_argument("--instrument", metavar="DIGEST", help="the start of an instrument's digest")
    made.add_argument(
        "--sort",
        default="started",
        choices=("started", "pass_rate", "loop", "model", "instrument"),
        help="default started, newest first; pass_rate lists the highest first",
    )
    made.add_argument(
        "--failures",
        action="store_true",
        help="group the failures of these runs by code, with examples",
    )
    made.add_argument(
        "--children",
        action="store_true",
        help="also list demos, and the measurements before and after learning",
    )
    made.add_argument(
        "--limit", type=whole_number, default=20, metavar="N", help="list the newest N; default 20"
    )

    made = verb("show", "one run: its summary, its failures grouped, its rows", SHOW)
    made.add_argument("run", metavar="RUN", help="a run id, the start of one, or a name")
    made.add_argument(
        "--lineage", action="store_true",
        help="what it was made from and what came of it, and whether all of it is unchanged; "
        "RUN may be models:/NAME/VERSION",
    )  # fmt: skip
    made.add_argument(
        "--rows",
        type=whole_number,
        default=3,
        metavar="N",
        help="rows to show of each code; default 3",
    )
    made.add_argument("--code", help="only the completions with this code")
    made.add_argument("--family", help="only the problems of this family")
    made.add_argument(
        "--sort",
        default="problem",
        choices=("problem", "likelihood"),
        help="order in a group: by problem, or most likely under the policy first",
    )

    made = verb("doctor", "is everything whole that is kept, and the machine fit?", DOCTOR)
    made.add_argument(
        "--repair", action="store_true",
        help="do what is safe; what is damaged is moved into set-aside/, never deleted",
    )  # fmt: skip
    verb("sync", "send what MLflow or Prefect could not be told while they were away", SYNC)

    made = verb("export", "a version as a folder of your own, a run's answers as a file", EXPORT)
    made.add_argument("what", metavar="WHAT", help="models:/NAME/VERSION, or a run as in compare")
    made.add_argument(
        "--to", required=True, metavar="FOLDER|FORMAT",
        help="of a version: a new folder; of a run: jsonl",
    )  # fmt: skip
    made.add_argument(
        "--out", type=Path, metavar="FILE", help="of a run: the new file; default RUN.jsonl here"
    )

    made = verb("tokens", "the tokens of a text under the policy's tokenizer", TOKENS)
    made.add_argument("text", metavar="TEXT", help="the text, e.g. 'Final: 42'")
    made.add_argument("--prompt", metavar="QUESTION", help="score TEXT as the answer to this")
    add_options(made, EvalConfig, ("model", "template", "device"))

    made = verb("score", "one text judged by a scorer: reward, code, the rule in words", SCORE)
    made.add_argument("text", metavar="TEXT", help="the whole output, e.g. 'Final: 42'")
    made.add_argument("--expected", required=True, metavar="INT", help="the right answer")
    made.add_argument(
        "--finish-reason", choices=FINISH_REASONS, default=FINISH_REASONS[0],
        help="stop: the model ended it (default); length: it was cut off",
    )  # fmt: skip
    add_options(made, EvalConfig, ("scorer",))

    made = verb("ask", "one question of your own: answers, tokens, verdicts", ASK)
    made.add_argument("question", metavar="QUESTION", help="e.g. 'What is 6 * 7?'")
    made.add_argument("--expected", metavar="INT", help="the right answer, to judge by")
    add_options(
        made, EvalConfig, ("samples", "model", "template", "scorer", "seed", "sampling", "device")
    )

    made = verb("up", "Prefect's server, MLflow's page and the deployments, until Ctrl-C", UP)
    made.add_argument(
        "--prefect-port", type=whole_number, default=4200, metavar="N", help="default 4200"
    )
    made.add_argument(
        "--mlflow-port", type=whole_number, default=5000, metavar="N", help="default 5000"
    )
    made.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where the pages listen; default 127.0.0.1, for this machine alone",
    )
    made.add_argument("--name", help="the name of this machine in the links, if not that of --host")
    made.add_argument("--tls-cert", type=Path, metavar="FILE", help="a certificate, for https")
    made.add_argument("--tls-key", type=Path, metavar="FILE", help="the key of the certificate")
    made.add_argument(
        "--insecure-http", action="store_true",
        help="allow a --host beyond this machine without TLS",
    )  # fmt: skip
    return parser


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The verb and its options; InputError for what is not known."""
    parser = build_parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.verbs[options.verb].refuse_unknown(unknown)
    if "config" in options:
        from flows.cli.config_file import with_file

        return with_file(options)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    open_standard_streams()
    _write_any_character()
    try:
        options = parsed(arguments)
    except InputError as error:
        from flows.cli.terminal import Terminal

        Terminal(as_json=True).fail(str(error))
        return 2
    from flows.cli.failures import explained, was_terminated
    from flows.cli.stopping import ending_when_asked
    from flows.cli.terminal import Terminal

    terminal = Terminal(as_json=options.json)
    with ending_when_asked() as asked:
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
                return TERMINATED if terminated else INTERRUPTED
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
    ):
        # the others make a data folder where there is none
        if options.verb == "doctor":
            from flows.cli.doctor import doctor

            return doctor(options, terminal)
        if "print_config" in options:
            from flows.cli.config_file import print_config

            return print_config(options, terminal)
        if options.verb == "score":
            from flows.cli.score import score_text

            return score_text(options, terminal)
        from flows.cli.verbs import LOOP_VERBS
        from flows.cli.verbs_of_past_runs import PAST_VERBS
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


def _rows(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--rows", type=whole_number, default=3, metavar="N", help=f"{what}; default 3"
    )


def _write_any_character() -> None:
    """Write a character that the terminal's encoding has not as an escape, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
