"""Results that an earlier version recorded, with the keys of today."""

from __future__ import annotations

from pydantic import JsonValue

FORMER_NAMES = {"right_format": "valid_format_rate"}  # format 2 and 3
GIVEN_NAMES = ("families", "codes", "config")  # their keys are the user's, or a scorer's


def upgraded(result: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """A result of format 2 as one of format 3; any other result as it is."""
    if result.get("format") != 2:
        return result
    return _renamed_keys(result) | {"format": 3}


def _renamed_keys(result: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {
        FORMER_NAMES.get(name, name): inner if name in GIVEN_NAMES else _renamed(inner)
        for name, inner in result.items()
    }


def _renamed(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return _renamed_keys(value)
    if isinstance(value, list):
        return [_renamed(inner) for inner in value]
    return value
