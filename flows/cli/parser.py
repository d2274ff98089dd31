"""The command `threeloops`: reads what was asked, starts a verb, turns errors into exit codes.

Exit 0 done, 1 the answer is no, 2 bad input. Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.cli.options import add_options
from schemas.config import EvalConfig, LearningConfig, SelectionConfig
from schemas.errors import InputError, ThreeLoopsError
from schemas.references import Instrument

STORY = """One strict scorer, three loops.

  Loop A  eval    measures a policy          changes nothing
  Loop B  select  picks the best of N        changes which output is used
  Loop C  learn   trains the policy          changes the model

All three read the same scorer: reward 1 only if the whole answer is exactly
`Final: <int>` with the right integer. Whoever changes the scorer has changed
what is measured."""

EXAMPLES = """examples:
  threeloops demo                               the whole story, start to end
  threeloops eval --samples 4                   how good is the default model?
  threeloops select --samples 8 --pick majority how far does search get?
  threeloops learn --steps 20                   train, and measure again
  threeloops eval --model models:/threeloops@candidate
  threeloops eval --dataset mine.jsonl --completions answers.jsonl
  threeloops promote models:/threeloops/1       is it better than the champion?
  threeloops compare RUN RUN                    which is better, by how much?

exit codes: 0 done, 1 the answer is no, 2 bad input"""

SHARED = ("model", "dataset", "split", "limit", "seed", "template", "scorer", "sampling", "device")


def build_parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    parser = argparse.ArgumentParser(
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

    demo = verb("demo", "the whole story: measure, select, learn, measure again", DEMO)
    add_options(demo, LearningConfig, ("model", "dataset", "limit", "seed", "steps"))

    made = verb("eval", "loop A: the pass rate, and why answers fail; changes nothing", EVAL)
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
        "--resume", metavar="RUN", help="go on with a learning run that ended early, as it was set"
    )

    made = verb("rescore", "stored completions under another scorer: what changed", RESCORE)
    made.add_argument(
        "run", metavar="RUN", nargs="?", help="a run id, a completions table or a JSONL file"
    )
    made.add_argument(
        "--golden", metavar="FILE", help="check the scorer on rows with known rewards instead"
    )
    add_options(made, EvalConfig, ("scorer", "dataset", "limit"))
    _rows(made, "rows shown of each group that changed")

    made = verb("compare", "two runs: same instrument? which is better, by how much", COMPARE)
    made.add_argument("a", metavar="A", help="a run, RUN:before, RUN:after or RUN:RULE")
    made.add_argument("b", metavar="B", help="another; the difference is B's rate minus A's")
    made.add_argument(
        "--allow",
        action="append",
        choices=list(Instrument.model_fields),
        metavar="PART",
        help="this part of the instrument may differ",
    )
    _rows(made, "problems shown that flipped each way")

    made = verb("promote", "the gate: a model version becomes the champion on evidence", PROMOTE)
    made.add_argument("version", metavar="models:/NAME/VERSION", help="or models:/NAME@candidate")
    made.add_argument(
        "--min-gain", type=float, default=0.0, metavar="X",
        help="the gain's interval must lie above it, as a rate: 0.02 is two points; default 0",
    )  # fmt: skip

    made = verb("runs", "what has been run, and what the gate decided", RUNS)
    made.add_argument("--loop", choices=("A", "B", "C"), help="only this loop")
    made.add_argument("--model", metavar="NAME", help="part of a model's name, or its digest")
    made.add_argument("--instrument", metavar="DIGEST", help="the start of an instrument's digest")
    made.add_argument(
        "--sort",
        default="started",
        choices=("started", "pass_rate", "loop", "model", "instrument"),
        help="default started, newest first; by pass rate the highest first",
    )
    made.add_argument(
        "--failures", action="store_true", help="group these runs' failures by code, with examples"
    )
    made.add_argument(
        "--children",
        action="store_true",
        help="with the runs that others are made of: a demo's loops, before and after learning",
    )
    made.add_argument("--limit", type=int, default=20, metavar="N", help="newest N; default 20")

    made = verb("show", "one run: its summary, its failures grouped, its rows", SHOW)
    made.add_argument("run", metavar="RUN", help="a run id, the start of one, or a name")
    made.add_argument("--rows", type=int, default=3, metavar="N", help="rows a code; default 3")
    made.add_argument("--code", help="only the completions with this code")
    made.add_argument("--family", help="only the problems of this family")
    made.add_argument(
        "--sort",
        default="problem",
        choices=("problem", "likelihood"),
        help="rows of a group: in the problems' order, or what the policy was surest of first",
    )

    made = verb("tokens", "the tokens of a text under the policy's tokenizer", TOKENS)
    made.add_argument("text", metavar="TEXT", help="the text, e.g. 'Final: 42'")
    made.add_argument("--prompt", metavar="QUESTION", help="score TEXT as the answer to this")
    add_options(made, EvalConfig, ("model", "template", "device"))

    made = verb("up", "Prefect's server, MLflow's page and the deployments, until Ctrl-C")
    made.add_argument("--prefect-port", type=int, default=4200, metavar="N", help="default 4200")
    made.add_argument("--mlflow-port", type=int, default=5000, metavar="N", help="default 5000")
    return parser


DEMO = """Measure the default model (loop A), pick the best of its answers (loop B),
train it (loop C), and measure it again, on problems that training never saw."""
EVAL = """Loop A, evaluation. Answers every problem, scores every answer, and prints the
pass rate with its 95 % interval and why answers failed. It changes nothing.

With --completions it scores answers that were made before, and loads no model."""
SELECT = """Loop B, selection. Samples N answers a problem and picks one of them by a rule:

  oracle      the scorer picks; it has to know the expected answer
  majority    the integer that most answers agree on
  likelihood  the answer with the highest log-probability
  random      any answer: the control

The model stays as it is: a gain here is a gain by search."""
LEARN = """Loop C, learning. Samples answers, scores them, and makes answers that did
better than expected more likely: maximise E[reward] - beta * KL(policy ||
start). The result is a model version in the registry; --model
models:/NAME/VERSION loads it.

Every --dev-every steps it measures the split dev, to judge settings by. It
stops, keeps the last good policy and registers nothing (exit 1) on a number
that is not finite, or when KL to the start exceeds --max-kl; --resume RUN
--max-kl NATS goes on from there."""
RESCORE = """Score stored completions again with another scorer and show what changed, row
by row. No model is loaded and nothing is generated.

  threeloops rescore eval-1a2b3c --scorer contains_int@1
  threeloops rescore answers.jsonl --dataset mine.jsonl --scorer mymodule:scorer

The new scores are kept beside the old ones, as a run of their own. Completions
from a file were never scored: they are compared with what final_int@1 says of
them.

  threeloops rescore --golden golden.jsonl --dataset mine.jsonl

checks the scorer itself. Each line is {"id": PROBLEM, "completion": TEXT,
"expected_reward": 0 or 1}; it may add "finish_reason" ("stop" or "length").
Rows that earn more than they should are false positives, exploits that pay;
rows that earn less are false negatives. Exit 1 if there is any of either."""
COMPARE = """Compare two runs, problem by problem. They must have been measured with the
same instrument: dataset, split, prompt_template, scorer and sampling.
Otherwise the answer is no (exit 1), with each part that differs and both its
values; --allow PART compares all the same, and says so.

  threeloops compare eval-1a2b3c eval-4d5e6f
  threeloops compare learn-1a2b3c:before learn-1a2b3c:after
  threeloops compare eval-1a2b3c select-4d5e6f:majority

A learning run alone means what it measured after. A selection run alone means
all its samples; with a rule, what that rule picked. What is printed: both pass
rates, their difference with its 95 % interval over problems, a paired test,
the difference in each family, the smallest difference that could have been
seen, the problems that flipped, and whether a gain is one by search (loop B)
or by learning (loop C)."""
PROMOTE = """Give a model version the alias champion, if the evidence is there:

  - it was evaluated on the holdout, and so was the present champion, with the
    same instrument; where there is no champion, its start counts
  - no table of either was changed since, nor the weights
  - it was not trained on problems of the holdout
  - the 95 % interval of its gain, paired over problems, lies above --min-gain

A learning run's own before and after on the holdout are evaluations. Otherwise
the answer is no (exit 1), with every reason. Either way the decision and its
evidence are kept as a run in MLflow and as tags of the version.

  threeloops promote models:/threeloops/1
  threeloops eval --model models:/threeloops@champion"""
RUNS = """One line a run, newest first: pass@1 with its 95 % interval (of a learning run:
after), the model it measured or made, and the instrument. Below, the decisions
of the gate.

  threeloops runs --instrument 2700fe0a --sort pass_rate   the best comparable
  threeloops runs --model models:/threeloops --failures    why answers fail"""
SHOW = """One run or decision: what it printed, then its completions grouped by outcome
and code. What cannot be seen is written as an escape, because tiny format
changes are big probability changes: \\n, \\u200b, and \u2420 for a space at
either end or beside another."""
TOKENS = """Show how the policy's tokenizer cuts a text, because tiny format changes are
big probability changes. With --prompt, each token's log-probability under the
policy too."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    given = vars(build_parser().parse_args(arguments))
    verb, as_json = given.pop("verb"), given.pop("json")
    _find_modules_here()
    from flows.cli import verbs
    from flows.cli.terminal import Terminal

    terminal = Terminal(as_json=as_json)
    try:
        # libraries print to stdout as they like; with --json it holds one object alone
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            result: dict[str, Any] = getattr(verbs, f"do_{verb}")(given, terminal)
    except InputError as error:
        terminal.fail(str(error))
        return 2
    except ThreeLoopsError as error:
        terminal.fail(str(error))
        return 1
    except KeyboardInterrupt:
        terminal.fail("stopped")
        return 130
    if as_json:
        print(json.dumps(result))
    return int(result.get("exit_code", 0))


def _rows(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--rows", type=int, default=3, metavar="N", help=f"{what}; default 3")


def _find_modules_here() -> None:
    """Let `--scorer mymodule:scorer` name a module in the working directory.

    It is looked in last, so that a file there cannot stand in for an installed package.
    """
    if not {"", here := str(Path.cwd())} & set(sys.path):
        sys.path.append(here)
