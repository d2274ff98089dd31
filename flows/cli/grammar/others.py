"""What the other verbs are told: texts, questions, the servers, the data folder."""

from __future__ import annotations

from pathlib import Path

from flows.cli.grammar.one_line_parser import NewVerb
from flows.cli.help_texts import ASK, DOCTOR, GC, PROMPT, SCORE, SYNC, TOKENS, UP
from flows.cli.options import add_options, whole_number
from schemas.config import EvalConfig
from schemas.finish_reasons import FINISH_REASONS, STOP


def add_others(verb: NewVerb) -> None:
    """`doctor`, `gc`, `sync`, `tokens`, `prompt`, `score`, `ask` and `up`."""
    made = verb("doctor", "is everything whole that is kept, and the machine fit?", DOCTOR)
    made.add_argument(
        "--repair", action="store_true",
        help="do what is safe; what is damaged is moved into set-aside/, never deleted",
    )  # fmt: skip

    made = verb("gc", "what nothing refers to any more: counted, or dropped", GC)
    either = made.add_mutually_exclusive_group()
    either.add_argument(
        "--dry-run", action="store_true", help="say what would be dropped; this is the default"
    )
    either.add_argument("--delete", action="store_true", help="drop it")
    made.add_argument(
        "--older-than", type=whole_number, default=24, metavar="HOURS",
        help="keep what was made or used since then; default 24",
    )  # fmt: skip

    verb("sync", "send what MLflow or Prefect could not be told while they were away", SYNC)

    made = verb("tokens", "the tokens of a text under the policy's tokenizer", TOKENS)
    made.add_argument("text", metavar="TEXT", help="the text, e.g. 'Final: 42'")
    made.add_argument("--prompt", metavar="QUESTION", help="score TEXT as the answer to this")
    add_options(made, EvalConfig, ("model", "template", "device", "precision"))

    made = verb("prompt", "the exact text and tokens that a model would get", PROMPT)
    add_options(made, EvalConfig, ("template", "dataset", "columns", "split", "limit", "model"))

    made = verb("score", "one text judged by a scorer: reward, code, the rule in words", SCORE)
    made.add_argument("text", metavar="TEXT", help="the whole output, e.g. 'Final: 42'")
    made.add_argument("--expected", required=True, metavar="INT", help="the right answer")
    made.add_argument(
        "--finish-reason", choices=FINISH_REASONS, default=STOP,
        help="stop: the model ended it (default); length: it was cut off",
    )  # fmt: skip
    add_options(made, EvalConfig, ("scorer",))

    made = verb("ask", "one question of your own: answers, tokens, verdicts", ASK)
    made.add_argument("question", metavar="QUESTION", help="e.g. 'What is 6 * 7?'")
    made.add_argument("--expected", metavar="INT", help="the right answer, to judge by")
    add_options(
        made,
        EvalConfig,
        ("samples", "model", "template", "scorer", "seed", "sampling", "device", "precision"),
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
