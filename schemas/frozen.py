"""What every configuration is: immutable, and read without guessing."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator


class Frozen(BaseModel):
    """Immutable; an unknown field is an error and is not silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        """A name with bytes that are no text can be neither recorded nor shown."""
        if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
            raise ValueError("holds bytes that are not UTF-8 text")
        return value
