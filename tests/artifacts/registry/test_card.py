"""A version's card says where the model comes from, and hands that on to the versions after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.registry.card import origin, readme
from policy.model.embedded import FOLDER
from schemas.references import PolicyRef


def start(folder: Path, name: str = "owner/model") -> PolicyRef:
    return PolicyRef(name=name, folder=str(folder), digest="d" * 64)


@pytest.mark.parametrize(
    ("card", "known"),
    [
        (None, ("owner/model", "unknown")),
        ("# no front matter\nlicense: mit\n", ("owner/model", "unknown")),
        ("---\nlicense: mit\nbase_model: its/own\n---\n# x\n", ("owner/model", "mit")),
        ('---\nlicense: "mit"\n---\n', ("owner/model", "mit")),
    ],
)
def test_the_base_is_the_model_and_the_licence_that_of_its_card(
    tmp_path: Path, card: str | None, known: tuple[str, str]
) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert origin(start(tmp_path)) == known


def test_the_embedded_default_is_known_without_a_card(tmp_path: Path) -> None:
    base, licence = origin(start(tmp_path / FOLDER, "default"))
    assert (base, licence) == ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")


def test_a_version_trained_further_keeps_base_and_licence(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    ours = tmp_path / "version"
    ours.mkdir()
    (ours / "README.md").write_text(readme("the card", start(tmp_path), "threeloops"))
    assert origin(start(ours, "models:/threeloops/1")) == ("owner/model", "mit")
