"""Problems that the package reasoning-gym makes: `rg:GENERATOR[:SETTING=VALUE,...]`.

Only generators whose answers are integers. The same name makes the same problems everywhere, with
the same version of the package.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from enum import Enum
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from artifacts.datasets.checked import checked_problems
from artifacts.datasets.columns import as_problems
from artifacts.datasets.rows import Row
from schemas.config import Columns
from schemas.errors import InputError
from schemas.problems import CANONICAL_INTEGER

PREFIX = "rg:"
PACKAGE = "reasoning-gym"
GENERATORS = (
    "aiw", "basic_arithmetic", "binary_alternation", "chain_sum", "count_bits", "count_primes",
    "gcd", "gsm_symbolic", "largest_island", "lcm", "leg_counting", "letter_counting", "maze",
    "number_sequence", "products", "rectangle_count", "rotten_oranges", "self_reference",
    "simple_equations", "simple_geometry",
)  # fmt: skip
# of these a few in a thousand answers are no integers
MIXED = ("gsm_symbolic",)
NOT_SUPPORTED = {
    "circuit_logic": "answers truth values, so one constant answer is right for half",
    "composite": "is made of other generators, each of which is a dataset of its own",
}
SPLITS = ("train", "dev", "holdout")
SIZE, SMALLEST, LARGEST = 2000, 10, 10**6
SEED = 0
HOLDOUT, DEV = 240, 120  # problems at most; at most a fifth and a tenth of all
Values = Mapping[str, Any]


class GymDataset:
    """The problems of one generator with its settings, made as far as they are asked for.

    The first fifth of `size`, at most `HOLDOUT`, is the split `holdout`, the next tenth, at most
    `DEV`, is `dev`, and the others are `train`. A question that was there before is left out, so
    that no split has one of another; so is a question of `MIXED` whose answer is no integer.
    """

    def __init__(self, dataset: str) -> None:
        """Raises InputError for a generator or setting that is unknown, or without the package."""
        self._name = dataset
        self._generator, wanted, given = _parts(dataset)
        if importlib.util.find_spec("reasoning_gym") is None:
            raise InputError(
                f"it needs the package {PACKAGE}",
                f"--dataset {dataset}",
                "pip install -e '.[gym]' in the folder of threeloops",
            )
        _refuse_other_version(dataset, wanted)
        self._settings = _settings(dataset, self._generator, given)
        self._item = _items(dataset, self._generator, self._settings)
        self._rows: list[tuple[int, Row]] = []
        self._drawn = 0
        self._prompts: dict[str, Any] = {}

    @property
    def identity(self) -> str:
        """The generator, the version of the package and every setting: what makes the problems."""
        shown = ",".join(f"{name}={_shown(value)}" for name, value in self._settings.items())
        return f"{PREFIX}{self._generator}@{version(PACKAGE)}:{shown}"

    def problems(self, split: str) -> pa.Table:
        """The problems of a split; InputError names the first that has no integer as its answer."""
        size = int(self._settings["size"])
        holdout = min(HOLDOUT, size // 5)
        dev = holdout + min(DEV, size // 10)
        first, last = {
            "holdout": (0, holdout),
            "dev": (holdout, dev),
            "train": (dev, size),
        }[split]
        self._draw(last)
        rows = [(number, row) for number, row in self._rows if first < number <= last]
        made = as_problems(rows, Columns(), self._name)
        return checked_problems(
            [(number, row | {"split": split}) for number, row in made], self._name
        )

    def _draw(self, last: int) -> None:
        """Make the items up to `last`, without those that are left out."""
        while self._drawn < last:
            item = self._item(self._drawn)
            self._drawn += 1
            prompt, answer = item["question"], item["answer"]
            if self._generator in MIXED and not re.fullmatch(CANONICAL_INTEGER, answer, re.ASCII):
                continue
            if self._prompts.setdefault(prompt, answer) != answer:
                raise InputError(
                    f"the same question has the answers {self._prompts[prompt]} and {answer}",
                    f"{self._name}, row {self._drawn}",
                    "use other settings",
                )
            if len(self._prompts) > len(self._rows):
                self._rows.append((self._drawn, {"prompt": prompt, "expected_answer": answer}))


def _parts(dataset: str) -> tuple[str, str, dict[str, str]]:
    """The generator, the version where one is named, and the settings of a name, as texts."""
    named, _, rest = dataset.removeprefix(PREFIX).partition(":")
    generator, _, wanted = named.partition("@")
    if generator not in GENERATORS:
        raise InputError(
            f"{generator or 'it'} {NOT_SUPPORTED.get(generator, 'is no generator of integers')}",
            f"--dataset {dataset}",
            f"use {PREFIX} with one of {', '.join(GENERATORS)}",
        )
    given: dict[str, str] = {}
    for part in rest.split(",") if rest else ():
        name, equals, value = part.partition("=")
        if not equals or name in given:
            what = f"{name} is set twice" if equals else f"{part!r} is no setting"
            raise InputError(
                what, f"--dataset {dataset}", f"write {PREFIX}{generator}:NAME=VALUE,NAME=VALUE"
            )
        given[name] = value
    return generator, wanted, given


def _refuse_other_version(dataset: str, wanted: str) -> None:
    if wanted and wanted != (there := version(PACKAGE)):
        raise InputError(
            f"{PACKAGE} {there} is installed, and {wanted} is named",
            f"--dataset {dataset}",
            f"install {PACKAGE}=={wanted}, or leave @{wanted} out",
        )


def _settings(dataset: str, generator: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Every setting of a generator by its name, those that were not given at their defaults."""
    from reasoning_gym.factory import DATASETS

    known = {one.name: _default(one) for one in fields(DATASETS[generator][1])}
    known |= {"seed": SEED, "size": SIZE}
    for name in given:
        if name not in known:
            raise InputError(
                f"{generator} has no setting {name!r}",
                f"--dataset {dataset}",
                f"it has {', '.join(sorted(known))}",
            )
    made = {
        name: _value(given[name], default, f"{name} of --dataset {dataset}")
        if name in given
        else default
        for name, default in sorted(known.items())
    }
    for name, (least, most) in {"size": (SMALLEST, LARGEST), "seed": (0, 2**63 - 1)}.items():
        if not least <= made[name] <= most:
            raise InputError(f"is not between {least} and {most}", f"{name} of --dataset {dataset}")
    return made


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def _value(text: str, default: Any, where: str) -> Any:
    """A setting's value of the type that its default has; a list is written `a:b:c`."""
    if isinstance(default, list | tuple):
        return type(default)(_value(part, default[0], where) for part in text.split(":"))
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise InputError(f"{text!r} is neither true nor false", where)
        return text == "true"
    try:
        return type(default)(text)
    except ValueError:
        wanted = "a whole number" if isinstance(default, int) else "a number"
        if isinstance(default, Enum):
            wanted = "one of " + ", ".join(str(one.value) for one in type(default))
        raise InputError(f"{text!r} is not {wanted}", where) from None


def _shown(value: Any) -> str:
    """A value as it is written in a name."""
    if isinstance(value, list | tuple):
        return ":".join(map(_shown, value))
    if isinstance(value, Enum):
        return str(value.value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _items(dataset: str, generator: str, settings: Values) -> Callable[[int], Any]:
    """The generator's items by their number; each depends on the settings and its number alone."""
    from reasoning_gym import create_dataset

    try:
        made = create_dataset(generator, **settings)
    except (AssertionError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split()) or "they do not fit together"
        raise InputError(
            f"{generator} refuses its settings ({reason})", f"--dataset {dataset}"
        ) from None

    def item(number: int) -> Any:
        try:
            return made[number]
        except Exception as error:  # a stranger's code, with settings that nobody tried
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            if "set_int_max_str_digits" in reason:
                reason = "a number has more digits than Python writes"
            raise InputError(
                f"{generator} cannot make it ({reason})",
                f"{dataset}, row {number + 1}",
                "use other settings",
            ) from None

    return item
