"""The code that CONTRIBUTING.md shows works as it is shown."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest

from artifacts.datasets.arithmetic import arithmetic
from artifacts.store.data_dir import DataDir
from artifacts.store.tables import Store
from policy.model.template import EXAMPLES, PromptTemplate

PAGE = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text()
SCORER, TEMPLATE, TASK = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def module_of(code: str, folder: Path) -> ModuleType:
    """The module that a block of code makes."""
    path = folder / "shown.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("shown", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize(
    ("text", "finish_reason", "code"),
    [("42", "stop", "exact"), ("Final: 42", "stop", "other_text"), ("42", "length", "cut_off")],
)
def test_the_scorer_scores_a_table(
    tmp_path: Path, text: str, finish_reason: str, code: str
) -> None:
    scorer = module_of(SCORER, tmp_path).BARE_INT_1
    columns = (pa.array([value], pa.string()) for value in (text, finish_reason, "42"))
    (verdict,) = scorer.score(*columns).to_pylist()
    assert (verdict["code"], verdict["reward"]) == (code, float(code == "exact"))


def test_the_template_is_one() -> None:
    made = eval(TEMPLATE, {"PromptTemplate": PromptTemplate, "EXAMPLES": EXAMPLES})
    assert made.id == "polite_chat@1"


def test_the_task_finds_what_it_made(tmp_path: Path, data_dir: DataDir) -> None:
    longest = module_of(TASK, tmp_path).longest
    problems = Store(data_dir).write("problems", arithmetic("holdout"), producer="test")
    first = longest(problems, 5)
    assert longest(problems, 5) == first
    lengths = [len(prompt) for prompt in Store(data_dir).read(first)["prompt"].to_pylist()]
    assert lengths == sorted(lengths, reverse=True)
    assert len(lengths) == 5
