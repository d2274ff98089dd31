"""Scorers by name, and clear lines for the names that lead nowhere."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.errors import InputError
from scorers import registry
from scorers.final_int import FINAL_INT_1
from scorers.registry import BUILT_IN, get_scorer

OWN = """
from scorers.custom import custom_scorer
from scorers.final_int import FINAL_INT_1
from scorers.scorer import Scorer

@custom_scorer(name="mine", version=2, spec="the text is the answer")
def mine(text, finish_reason, expected_answer):
    return text == expected_answer

class box:
    older = custom_scorer(name="mine", version=1, spec="anything")(lambda *_: True)

def plain(text, finish_reason, expected_answer):
    return True

thief = Scorer("final_int", 1, "anything goes", FINAL_INT_1.score_columns)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / f"{name}_broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_name_with_its_version_and_the_bare_name_find_the_strict_scorer() -> None:
    assert get_scorer("final_int@1") is get_scorer("final_int") is FINAL_INT_1


@pytest.mark.parametrize("name", ["final_int@2", "final_int@", "final_int@01", "exact", "", "@1"])
def test_an_unknown_name_lists_the_scorers_that_exist(name: str) -> None:
    with pytest.raises(InputError, match="there is no scorer.*final_int@1"):
        get_scorer(name)


def test_every_scorer_of_ours_is_found_by_its_id_and_says_its_rule() -> None:
    assert len({scorer.id for scorer in BUILT_IN}) == len(BUILT_IN)
    for scorer in BUILT_IN:
        assert get_scorer(scorer.id) is scorer
        assert len(scorer.spec) > 80


def test_a_scorer_of_the_users_own_is_found_in_its_module(own: str) -> None:
    scorer = get_scorer(f"{own}:mine")
    assert scorer.id == "mine@2"
    table = scorer.score(pa.array(["12", "13"]), pa.array(["stop"] * 2), pa.array(["12"] * 2))
    assert table["reward"].to_pylist() == [1.0, 0.0]
    assert get_scorer(f"{own}:box.older").id == "mine@1"


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        (":plain", "decorate the function with scorers.custom.custom_scorer"),
        (":absent", "has no attribute 'absent'"),
        (":", "attribute"),
        (":thief", "calls itself final_int@1, which is ours"),
        ("_broken:x", "its import raised ZeroDivisionError"),
        ("_missing:x", "there is no module 'own_.*_missing'; set PYTHONPATH"),
    ],
)
def test_what_cannot_be_loaded_says_why_in_one_line(own: str, attribute: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        get_scorer(f"{own}{attribute}")
    assert "\n" not in str(caught.value)


def test_an_installed_package_offers_scorers_by_entry_point(
    own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = [
        EntryPoint(name="mine", value=f"{own}:box.older", group="threeloops.scorers"),
        EntryPoint(name="mine@2", value=f"{own}:mine", group="threeloops.scorers"),
    ]
    monkeypatch.setattr(registry, "_announced", lambda: offered)
    assert get_scorer("mine@1").version == 1
    assert get_scorer("mine").version == get_scorer("mine@2").version == 2
    with pytest.raises(InputError, match="there are final_int@1.*mine, mine@2"):
        get_scorer("absent")


def test_a_package_that_was_installed_meanwhile_is_found(
    own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed: list[EntryPoint] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: list(installed))
    registry._announced_on.cache_clear()
    with pytest.raises(InputError, match="there is no scorer 'mine@2'"):
        get_scorer("mine@2")
    installed.append(EntryPoint(name="mine@2", value=f"{own}:mine", group="threeloops.scorers"))
    assert get_scorer("mine@2").version == 2
    registry._announced_on.cache_clear()
