"""The card of a model version: where it comes from, what it learned on, and what that did.

As `README.md` it opens with the front matter that model hubs read; the card of a version that is
trained further takes licence and base from there.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData
from jinja2 import Environment, StrictUndefined, Template

from artifacts.text.describe import describe_instrument, rates_table
from artifacts.text.markdown import code
from artifacts.text.numbers import nats, nats_interval, percent
from artifacts.text.rates import constant_line
from policy.model.embedded import FOLDER as DEFAULT_FOLDER
from policy.model.embedded import LICENCE as DEFAULT_LICENCE
from policy.model.embedded import SOURCE as DEFAULT_SOURCE
from policy.model.template import get_template
from schemas.config import LearningConfig
from schemas.measurements import Learned
from schemas.result_parts import InstrumentRecord, Rates

UNKNOWN = "unknown"
MARK = "threeloops"
CARD = Path(__file__).with_name("card.md")
README = "---\n{{ card_data }}\n---\n# {{ name }}\n\n{{ card }}"


def origin(name: str, folder: Path) -> tuple[str, str]:
    """The first base of a policy and its licence, by its folder's card; `unknown` without one."""
    if folder.name == DEFAULT_FOLDER:
        return DEFAULT_SOURCE, DEFAULT_LICENCE
    known = _front_matter(folder / "README.md")
    # the card of a version of ours names the first base; the card of another model may name what
    # that was made from, and then the model itself is the base of ours
    ours = MARK in (known.tags or ())
    base = known.base_model if ours and isinstance(known.base_model, str) else ""
    return base or name, _words(known.license) or UNKNOWN


def _front_matter(readme: Path) -> ModelCardData:
    """What a card says at its top; empty where there is no card, or one that cannot be read."""
    if not readme.is_file():
        return ModelCardData()
    text = readme.read_text("utf-8", "replace")
    if not text.lstrip().startswith("---"):
        return ModelCardData()
    try:
        data = ModelCard(text, ignore_metadata_errors=True).data
    except Exception:  # a stranger may have written anything there, and the model loads without it
        return ModelCardData()
    return data if isinstance(data, ModelCardData) else ModelCardData()


def _words(value: object) -> str:
    """A licence as one line; some cards list several."""
    names = value if isinstance(value, list) else [value]
    return ", ".join(" ".join(name.split()) for name in names if isinstance(name, str))


def model_card(
    config: LearningConfig, learned: Learned, base: str, licence: str, *, run_name: str
) -> str:
    """Markdown: base, data, steps, rates before and after with intervals, KL, licence, use.

    `base` and `licence` are those of `origin`.
    """
    sides = Rates.of(learned.before.summary), Rates.of(learned.after.summary)
    return str(
        _template().render(
            config=config,
            learning=config.learning,
            template=get_template(config.template),
            start=learned.start,
            base=base,
            licence=licence,
            before=sides[0],
            after=sides[1],
            samples=learned.after.summary.samples,
            rates=rates_table(*sides),
            constant=constant_line(sides[1], "pass@1 after"),
            kl=learned.kl_nats,
            run_name=run_name,
            instrument=describe_instrument(InstrumentRecord.of(learned.after.instrument)),
        )
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    """The card's body. It is markdown: `code` shows any text as it is, so nothing is escaped."""
    environment = Environment(autoescape=False, undefined=StrictUndefined)
    environment.filters |= {
        "code": code,
        "percent": percent,
        "nats": nats,
        "nats_interval": nats_interval,
    }
    return environment.from_string(CARD.read_text("utf-8"))


def readme(card: str, base: str, licence: str, name: str) -> str:
    """The card as a model folder's `README.md`."""
    data = ModelCardData(license=licence, base_model=base, tags=[MARK])
    whole = ModelCard.from_template(data, template_str=README, name=name, card=card)
    return f"{whole}\n"
