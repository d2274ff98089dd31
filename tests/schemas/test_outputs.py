"""The JSON schemas in docs/json/ are those of what the verbs print."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.cli.parser import build_parser
from schemas.outputs import CONFIGS, OUTPUTS, write_schemas

SCHEMAS = Path(__file__).parents[2] / "docs" / "json"
CONFIGURED = [*(f"{verb}.config" for verb in CONFIGS), "template"]


def test_every_verb_has_an_output() -> None:
    (verbs,) = (action for action in build_parser()._actions if action.dest == "verb")
    assert set(verbs.choices or ()) == set(OUTPUTS)


@pytest.mark.parametrize("verb", [*sorted(OUTPUTS), *CONFIGURED])
def test_the_schema_in_the_documentation_is_the_one_of_the_code(verb: str, tmp_path: Path) -> None:
    write_schemas(tmp_path)
    written, current = ((folder / f"{verb}.json").read_text() for folder in (SCHEMAS, tmp_path))
    assert written == current, "run scripts/json-schemas"


def test_nothing_else_lies_among_the_schemas() -> None:
    assert {path.stem for path in SCHEMAS.iterdir()} == {*OUTPUTS, *CONFIGURED}
