"""What made a table: settings as they were given, and nothing for a table of another program."""

from __future__ import annotations

import pytest

from schemas.errors import StoreError
from schemas.provenance import Provenance, Settings


def test_settings_keep_their_types() -> None:
    config: Settings = {
        "samples": 4,
        "kl_weight": 1.0,
        "rules": ["oracle"],
        "lora": None,
        "clip": True,
    }
    made = Provenance(kind="scores", config=config)
    again = Provenance.model_validate_json(made.model_dump_json())
    assert again == made
    assert [type(value) for value in again.config.values()] == [
        type(value) for value in config.values()
    ]


def test_the_scorer_is_its_name_and_the_digest_of_its_rule() -> None:
    made = Provenance(config={"scorer": "mine@1", "spec": "abc"})
    assert made.scorer == "mine@1:abc"


def test_what_a_provenance_does_not_say_is_refused_in_one_line() -> None:
    with pytest.raises(StoreError, match="^a foreign table by another program: .*no setting templ"):
        Provenance().setting("template")
    with pytest.raises(StoreError, match="^a scores table by score: .* has no parent problems$"):
        Provenance(kind="scores", producer="score").parent("problems")


def test_what_a_later_version_adds_is_ignored() -> None:
    assert Provenance.model_validate({"kind": "scores", "host": "x"}) == Provenance(kind="scores")
