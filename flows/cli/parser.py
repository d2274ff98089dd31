"""The command `threeloops`: reads what was asked, starts a verb, turns errors into exit codes."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from flows.cli.options import add_options, number, whole_number
from schemas.config import EvalConfig, LearningConfig, SelectionConfig
from schemas.errors import InputError, ThreeLoopsError
from schemas.instrument import Instrument

if TYPE_CHECKING:
    from flows.cli.terminal import Terminal
    from schemas.result_parts import ResultModel

STORY = """One strict scorer, three loops.

  Loop A  eval    measures a policy          changes nothing
  Loop B  select  picks the best of N        changes which output is used
  Loop C  learn   trains the policy          changes the model

All three use the same scorer: reward 1 only if the whole answer is exactly
`Final: <int>` with the right integer. If you change the scorer, you change
what is measured."""

EXAMPLES = """examples:
  threeloops demo                               all three loops, start to end
  threeloops eval --samples 4                   how good is the default model?
  threeloops select --samples 8 --pick majority how far does search get?
  threeloops learn --steps 20                   train, then measure again
  threeloops eval --model models:/threeloops@candidate
  threeloops eval --dataset mine.jsonl --completions answers.jsonl
  threeloops promote models:/threeloops/1       is it better than the champion?
  threeloops compare RUN RUN                    which is better, by how much?

exit codes: 0 done, 1 the answer is no, 2 bad input, 70 a defect of threeloops,
130 stopped"""

INTERRUPTED, TERMINATED = 130, 143  # exit codes, as shells give them
SHARED = ("model", "dataset", "split", "limit", "seed", "template", "scorer", "sampling", "device")


class OneLineParser(argparse.ArgumentParser):
    """argparse, which says a mistake as an error of ours instead of in two lines."""

    def error(self, message: str) -> NoReturn:
        """InputError with what argparse says, and where help is."""
        verb = self.prog.removeprefix("threeloops").strip()
        what = message.removeprefix("argument ")
        raise InputError(what, verb, f"`{self.prog} --help` says what can be given")


def build_parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    parser = OneLineParser(
        prog="threeloops",
        description=STORY,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

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

    made = verb("select", "loop B: sample N, pick one; changes which output is used", SELECT)
    add_options(made, SelectionConfig, ("samples", "pick", "completions", "shard_size", *SHARED))

    made = verb("learn", "loop C: policy gradient with a KL penalty; changes the model", LEARN)
    add_options(
        made,
        LearningConfig,
        ("steps", "problems_per_step", "samples", "learning", "evaluation_samples", "train_split",
         "dev_every", "dev_samples", "dev_limit", "max_kl_nats", "checkpoint_every",
         "keep_checkpoints", "register_as", "shard_size", *SHARED),
    )  # fmt: skip
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
    add_options(made, EvalConfig, ("scorer", "dataset", "limit"))
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

    verb("sync", "send what MLflow or Prefect could not be told while they were away", SYNC)

    made = verb("tokens", "the tokens of a text under the policy's tokenizer", TOKENS)
    made.add_argument("text", metavar="TEXT", help="the text, e.g. 'Final: 42'")
    made.add_argument("--prompt", metavar="QUESTION", help="score TEXT as the answer to this")
    add_options(made, EvalConfig, ("model", "template", "device"))

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


DEMO = """Measure the default model (loop A), pick the best of its completions (loop B),
train it (loop C) and measure it again, on problems that training never saw.

It ends with one table of the three loops and a picture of the learning."""
EVAL = """Loop A, evaluation. The model answers every problem, the scorer scores every
completion, and the pass rate is printed with its 95 % interval and the reasons
of the failures. Nothing is changed.

With --completions it scores completions that exist already. It then loads no
model."""
SELECT = """Loop B, selection. Samples N completions for each problem and picks one of them
by a rule:

  oracle      by the scorer, which needs the expected answer
  majority    the integer that most completions agree on
  likelihood  the completion with the highest log-probability
  random      any completion: the control

The model does not change: a gain here is a gain by search."""
LEARN = """Loop C, learning. Samples completions, scores them, and makes those that did
better than expected more likely: it maximises E[reward] - beta * KL(policy ||
start). The result is a model version in the registry, which
--model models:/NAME/VERSION loads.

Every --dev-every steps it measures the split dev, so that you can choose
settings without looking at the holdout. It stops if a number is not finite, or
if KL to the start exceeds --max-kl: then it keeps the last good policy and
registers nothing (exit 1). --resume RUN --max-kl NATS continues from there."""
RESCORE = """Score stored completions again with another scorer, and show what changed, row
by row. No model is loaded and nothing is generated.

  threeloops rescore eval-1a2b3c --scorer contains_int@1
  threeloops rescore answers.jsonl --dataset mine.jsonl --scorer mymodule:scorer

The new scores are kept beside the old ones, as a run of their own. Completions
from a file have no scores yet: they are compared with those of final_int@1.

  threeloops rescore --golden golden.jsonl --dataset mine.jsonl

checks the scorer itself. Each line is {"id": PROBLEM, "completion": TEXT,
"expected_reward": 0 or 1}; it may add "finish_reason" ("stop" or "length").
A row that gets more than it should is a false positive, an exploit that pays;
a row that gets less is a false negative. Exit 1 if there is any of either."""
COMPARE = """Compare two runs, problem by problem. Both must have been measured with the
same instrument: dataset, split, prompt_template, scorer and sampling.
Otherwise the answer is no (exit 1), with each part that differs and both its
values. --allow PART compares them anyway, and says so.

  threeloops compare eval-1a2b3c eval-4d5e6f
  threeloops compare learn-1a2b3c:before learn-1a2b3c:after
  threeloops compare eval-1a2b3c select-4d5e6f:majority

A learning run means its measurement after learning, unless you add :before. A
selection run means all its samples; with a rule, what that rule picked.

It prints both pass rates, their difference with its 95 % interval over
problems, a paired test, the difference in each family, the smallest difference
that could have been found, the problems that flipped, and whether a gain is by
search (loop B) or by learning (loop C)."""
PROMOTE = """Give a model version the alias champion, if all of this is true:

  - it was evaluated on the holdout, and so was the present champion, with the
    same instrument; if there is no champion, the version's start is used
  - since then, neither a table of the two nor the weights have changed
  - it was not trained on problems of the holdout
  - the interval of its gain, paired over problems, is above --min-gain; its
    level rises from 97 % with every look at the evidence
  - measured once more, with a new seed and twice the samples, it shows that
    gain again; this takes two evaluations

A learning run's measurements before and after on the holdout are evaluations
too. Otherwise the answer is no (exit 1), with every reason. In both cases the
decision and its evidence are kept as a run in MLflow and as tags of the
version.

  threeloops promote models:/threeloops/1
  threeloops eval --model models:/threeloops@champion"""
RUNS = """One line a run, newest first: pass@1 with its 95 % interval (for a learning run:
after), the model that it measured or made, and the instrument. The decisions of
the gate follow.

  threeloops runs --instrument 2700fe0a --sort pass_rate   the best comparable
  threeloops runs --model models:/threeloops --failures    why completions fail"""
SHOW = """One run or decision: what it printed, then its completions grouped by outcome
and code. A character that cannot be seen is written as an escape (\\n, \\u200b,
and \u2420 for a space at either end or beside another space), because a tiny
change of format is a big change of probability."""
SYNC = """A server that dies while a command runs does not end it: what the server could
not be told is kept in the data folder. The next command that uses the server
sends it, each record once, and so does this verb, which says what it sent.

Exit 1 if something could not be sent: it stays kept."""
UP = """Start Prefect's server, MLflow's page and a worker with the deployments of
prefect.yaml, until Ctrl-C.

It prints a link to each page. A link opens once, and its browser may then use
both pages. Nobody else can: no other user of this machine, and no other web
page. `threeloops up` in a second terminal prints new links. Commands of yours
find the running servers by themselves.

With --host the pages can be opened from other machines. That needs TLS, or
--insecure-http."""
TOKENS = """Show the tokens of a text under the policy's tokenizer: a tiny change of format
is a big change of probability. With --prompt, also show the log-probability of
each token under the policy, and its rank."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    _write_any_character()
    try:
        options = build_parser().parse_args(arguments)
    except InputError as error:
        from flows.cli.terminal import Terminal

        Terminal(as_json=True).fail(str(error))
        return 2
    _find_modules_here()
    from artifacts.store.data_dir import LOGS, named_data_folder
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
            if not isinstance(error, Exception):
                raise
            line, code = explained(error, named_data_folder() / LOGS)
            terminal.fail(line)
            return code
    if options.json:
        print(json.dumps(result.as_json()))
    return int(getattr(result, "exit_code", None) or 0)


def _done(options: argparse.Namespace, terminal: Terminal) -> ResultModel:
    """What the verb answers."""
    from artifacts.store.data_dir import private_files
    from flows.cli.verbs import LOOP_VERBS
    from flows.cli.verbs_of_past_runs import PAST_VERBS
    from tasks.runtime.runtime import process_runtime

    verb = {**LOOP_VERBS, **PAST_VERBS}[options.verb]
    with (
        # libraries print to stdout as they like; with --json it holds one object alone
        contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext(),
        contextlib.nullcontext() if options.verb == "export" else private_files(),
        terminal.noting_warnings(),
    ):
        return verb(process_runtime(), options, terminal)


def _rows(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--rows", type=whole_number, default=3, metavar="N", help=f"{what}; default 3"
    )


def _write_any_character() -> None:
    """Write a character that the terminal's encoding has not as an escape, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _find_modules_here() -> None:
    """Let `--scorer mymodule:scorer` name a module in the working directory.

    It is looked in last, so that a file there cannot stand in for an installed package.
    """
    if not {"", here := str(Path.cwd())} & set(sys.path):
        sys.path.append(here)
