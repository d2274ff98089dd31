"""What a completions table says of where it came from, read from its provenance."""

from __future__ import annotations

from typing import TypedDict

from pydantic import ValidationError

from schemas.errors import StoreError
from schemas.imported import ImportedFrom, PartialAnswers
from schemas.provenance import Provenance


class Origin(TypedDict):
    """Which program made completions that are not ours, and what of them was missing."""

    imported: ImportedFrom | None
    partial: PartialAnswers | None


def told_of(made: Provenance) -> Origin:
    """The origin of a completions table by its provenance; None for what it does not say."""
    config = made.config
    try:
        return {
            "imported": ImportedFrom.model_validate(config["imported"])
            if config.get("imported")
            else None,
            "partial": PartialAnswers.model_validate(config["partial"])
            if config.get("partial")
            else None,
        }
    except ValidationError:
        raise StoreError("its provenance cannot be read", "metadata of a table") from None
