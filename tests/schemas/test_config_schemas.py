"""The JSON schemas that editors check configurations with take what is right, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from flows.cli.parser import main
from schemas.outputs import CONFIGS

DOCS = Path(__file__).parents[2] / "docs"
FILES = dict(
    re.findall(
        r"^\$ cat (\S+\.yaml)\n(.+?)(?=^\$|^```)",
        (DOCS / "your-setup.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
)


def validator(name: str) -> Any:
    schema = json.loads((DOCS / "json" / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def printed(verb: str, capsys: pytest.CaptureFixture[str]) -> Any:
    assert main([verb, "--print-config"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize("verb", CONFIGS)
def test_a_printed_configuration_fits_the_schema_of_its_verb(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    validator(f"{verb}.config").validate(printed(verb, capsys))


@pytest.mark.parametrize("verb", CONFIGS)
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("limt", 5),
        ("limit", "many"),
        ("limit", 0),
        ("samples", 1.5),
        ("sampling.temperature", -1),
        ("sampling.top_p", 2),
        ("sampling.temprature", 1),
        ("columns.answer_column", ""),
        ("template", 3),
        ("scorer", None),
    ],
)
def test_the_schema_refuses_a_setting_that_is_wrong(
    verb: str, path: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = printed(verb, capsys)
    *folders, name = path.split(".")
    inner = wrong
    for folder in folders:
        inner = inner[folder]
    inner[name] = value
    with pytest.raises(jsonschema.ValidationError) as caught:
        validator(f"{verb}.config").validate(wrong)
    assert name in caught.value.absolute_path or name in caught.value.message


@pytest.mark.parametrize(
    ("verb", "name", "value"),
    [("learn", "steps", 0), ("select", "pick", ["best"]), ("eval", "steps", 5)],
)
def test_the_schema_refuses_a_wrong_setting_of_one_loop(
    verb: str, name: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    right = printed(verb, capsys)
    assert (name in right) == (verb != "eval")
    with pytest.raises(jsonschema.ValidationError):
        validator(f"{verb}.config").validate(right | {name: value})


@pytest.mark.parametrize("file", FILES)
def test_the_files_of_the_documents_fit(file: str) -> None:
    value = yaml.safe_load(FILES[file])
    kinds = ["template"] if "instruction" in value else [f"{verb}.config" for verb in CONFIGS]
    for kind in kinds:
        validator(kind).validate(value)


def test_the_documents_show_files_of_both_kinds() -> None:
    assert {"words.yaml", "gsm8k.yaml", "brief.yaml"} <= set(FILES)
