"""What the verbs that read past runs are told."""

from __future__ import annotations

import argparse
from pathlib import Path

from flows.cli.grammar.one_line_parser import NewVerb
from flows.cli.help_texts import COMPARE, EXPORT, PROMOTE, RESCORE, RUNS, SHOW
from flows.cli.options import add_options, number, whole_number
from schemas.config import EvalConfig
from schemas.instrument import Instrument


def add_past_runs(verb: NewVerb) -> None:
    """`rescore`, `compare`, `promote`, `runs`, `show` and `export`."""
    made = verb("rescore", "score stored completions with another scorer: what changed", RESCORE)
    made.add_argument(
        "run", metavar="RUN", nargs="?", help="a run, a completions table or a file of answers"
    )
    made.add_argument(
        "--golden",
        metavar="FILE",
        help="instead of RUN: check the scorer on rows with known rewards",
    )
    add_options(
        made, EvalConfig, ("scorer", "dataset", "columns", "limit", "samples", "allow_missing")
    )
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
    made.add_argument(
        "--same-engine",
        action="store_true",
        help="refuse runs not known to come from one engine, version and dtype",
    )
    _rows(made, "problems to show that flipped, in each direction")

    made = verb("promote", "the gate: a model version becomes the champion on evidence", PROMOTE)
    made.add_argument(
        "version", metavar="models:/NAME[/VERSION]",
        help="or models:/NAME@candidate; with --rollback, models:/NAME is enough",
    )  # fmt: skip
    made.add_argument(
        "--min-gain", type=number, metavar="X",
        help="the gain's interval must be above this rate: 0.02 is two points; default 0",
    )  # fmt: skip
    made.add_argument(
        "--rollback", action="store_true",
        help="no gate: the former champion is champion again; needs --reason",
    )  # fmt: skip
    made.add_argument(
        "--reason", metavar="TEXT", help="why it is rolled back; kept with the decision"
    )

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

    made = verb("export", "a version as a folder of your own, a run's answers as a file", EXPORT)
    made.add_argument("what", metavar="WHAT", help="models:/NAME/VERSION, or a run as in compare")
    made.add_argument(
        "--to", required=True, metavar="FOLDER|FORMAT",
        help="of a version: a new folder; of a run: jsonl, lm-eval or inspect",
    )  # fmt: skip
    made.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="of a run: the new file; default a name like RUN.jsonl here",
    )


def _rows(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--rows", type=whole_number, default=3, metavar="N", help=f"{what}; default 3"
    )
