"""What the verbs of the three loops are told."""

from __future__ import annotations

import argparse

from flows.cli.grammar.one_line_parser import NewVerb
from flows.cli.help_texts import DEMO, EVAL, LEARN, SELECT
from flows.cli.options import add_config_file, add_options
from schemas.config import EvalConfig, LearningConfig, SelectionConfig
from schemas.server import ServerSettings

SHARED = (
    "model", "dataset", "columns", "split", "limit", "seed", "template", "scorer", "sampling",
    "device", "precision",
)  # fmt: skip


def add_loops(verb: NewVerb) -> None:
    """`demo`, `eval`, `select` and `learn`."""
    made = verb("demo", "all three loops: measure, select, learn, measure again", DEMO)
    add_options(made, LearningConfig, ("model", "dataset", "limit", "seed", "steps"))

    made = verb("eval", "loop A: pass rate, and why completions fail; changes nothing", EVAL)
    add_options(
        made,
        EvalConfig,
        ("samples", "completions", "allow_missing", "shard_size", *SHARED, "server", "task_runner"),
    )
    add_config_file(made)

    made = verb("select", "loop B: sample N, pick one; changes which output is used", SELECT)
    add_options(
        made,
        SelectionConfig,
        (
            "samples",
            "pick",
            "completions",
            "allow_missing",
            "shard_size",
            *SHARED,
            "server",
            "task_runner",
        ),
    )
    add_config_file(made)

    made = verb("learn", "loop C: policy gradient with a KL penalty; changes the model", LEARN)
    add_options(
        made,
        LearningConfig,
        ("steps", "max_minutes", "problems_per_step", "samples", "learning", "logprob_after",
         "shard_weights",
         "evaluation_samples", "train_split", "dev_every", "dev_samples", "dev_limit",
         "max_kl_nats", "checkpoint_every", "keep_checkpoints", "register_as", "shard_size",
         *SHARED),
    )  # fmt: skip
    add_config_file(made)
    made.add_argument(
        "--base-url", default=argparse.SUPPRESS, metavar="URL",
        help="a server that samples the steps, as http://HOST:8000/v1; needs --adapter lora",
    )  # fmt: skip
    add_options(made, LearningConfig, ("sampler",))
    add_options(made, ServerSettings, ("num_concurrent", "max_retries"))
    # it is refused with the reason, and therefore not in the help
    made.add_argument("--task-runner", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    made.add_argument(
        "--resume",
        metavar="RUN",
        help="continue a learning run that ended early, with its own settings",
    )
