"""The card of a model version: where it comes from, what it learned on, and what that did.

It says what was measured; it reads no weights. As `README.md` it opens with the front matter that
model hubs read, from which the card of a version trained further takes licence and base.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from artifacts.text.describe import describe_instrument
from artifacts.text.markdown import code, table
from artifacts.text.numbers import interval, percent
from policy.model.embedded import FOLDER as DEFAULT_FOLDER
from policy.model.embedded import LICENCE as DEFAULT_LICENCE
from policy.model.embedded import SOURCE as DEFAULT_SOURCE
from schemas.config import LearningConfig
from schemas.references import PolicyRef
from schemas.measurements import Estimate, Measurement

UNKNOWN = "unknown"
MARK = "threeloops"
FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*\n", re.DOTALL)


def origin(start: PolicyRef) -> tuple[str, str]:
    """The first base of a policy and its licence, by its folder's card; `unknown` without one."""
    if Path(start.folder).name == DEFAULT_FOLDER:
        return DEFAULT_SOURCE, DEFAULT_LICENCE
    known = _front_matter(Path(start.folder) / "README.md")
    # of another's card the base is where that model came from, and the model itself is ours
    base = known.get("base_model") if MARK in known.get("tags", "") else None
    return base or start.name, known.get("license") or UNKNOWN


def _front_matter(readme: Path) -> dict[str, str]:
    """The entries on one line of a card's front matter; none where there is no card."""
    found = FRONT_MATTER.match(readme.read_text("utf-8", "replace")) if readme.is_file() else None
    lines = [line.partition(":") for line in found[1].splitlines()] if found else []
    return {name.strip(): value.strip().strip("'\"") for name, _, value in lines}


def model_card(
    config: LearningConfig,
    start: PolicyRef,
    before: Measurement,
    after: Measurement,
    kl: Estimate,
    *,
    run_name: str,
) -> str:
    """Markdown: base, data, steps, rates before and after with intervals, KL, licence, use."""
    base, licence = origin(start)
    learning = config.learning
    sides = (before.summary, after.summary)
    rates = [("pass@1", *(_cell(side.pass_rate) for side in sides))]
    rates += [
        (f"pass@{k}", *(_cell(side.pass_at_k[k]) for side in sides))
        for k in before.summary.pass_at_k
        if k > 1
    ]
    rates.append(("valid format", *(_cell(side.valid_format_rate) for side in sides)))
    rates += [
        (code(name), *(_cell(side.families[name]) for side in sides))
        for name in before.summary.families
    ]
    facts = [
        ("base", code(base)),
        ("started from", f"{code(start.name)}, digest `{start.digest[:12]}`"),
        ("licence", licence if licence != UNKNOWN else "unknown: that of the base"),
        ("data", f"{code(config.dataset)} {config.train_split}, scored by {code(config.scorer)}"),
        (
            "learning",
            f"{config.steps} steps of {config.problems_per_step} problems × {config.samples} "
            f"completions, baseline {learning.baseline}, β {learning.kl_weight:g}, learning rate "
            f"{learning.learning_rate:g} ({learning.schedule}), adapter {learning.adapter}, "
            f"seed {config.seed}",
        ),
        (
            "KL to the start",
            f"{kl.value:.2f} nats a completion ({kl.low:.2f} to {kl.high:.2f})",
        ),
        ("made by run", code(run_name)),
    ]
    problems = after.summary.pass_rate.problems
    return "\n".join(
        [
            f"**pass@1 {percent(before.summary.pass_rate.value)} before, "
            f"{percent(after.summary.pass_rate.value)} after learning**, on {problems} problems of "
            f"{code(config.dataset)} {config.split} that were not trained on "
            f"({after.summary.samples} completions each, 95 % intervals in brackets):",
            "",
            *table(("", ">before", ">after"), rates),
            "",
            *table(("", "what it is"), facts),
            "",
            describe_instrument(after.instrument.as_json()),
        ]
    )


def readme(card: str, start: PolicyRef, name: str) -> str:
    """The card as a model folder's `README.md`."""
    base, licence = origin(start)
    quoted = json.dumps(base, ensure_ascii=False)  # a string of JSON is one of YAML too
    front = ["---", f"license: {licence}", f"base_model: {quoted}", f"tags: [{MARK}]", "---"]
    return "\n".join([*front, f"# {name}", "", card, ""])


def _cell(rate: Estimate) -> str:
    return f"{percent(rate.value)} ({interval(rate.low, rate.high)})"
