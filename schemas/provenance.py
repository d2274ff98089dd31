"""What made a table: it travels in the metadata of the Parquet file."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, JsonValue

Settings = Mapping[str, JsonValue]


class Provenance(BaseModel):
    """The task that made a table, the digests of the tables it was made from, and its settings.

    `versions` are those of this code and its libraries. A table of another program has none of it.
    """

    model_config = ConfigDict(frozen=True)

    kind: str = ""
    producer: str = ""
    parents: Mapping[str, str] = {}
    config: Settings = {}
    versions: Mapping[str, str] = {}

    def setting(self, name: str) -> str:
        """A setting that is text; KeyError where the table has none of this name."""
        return str(self.config[name])

    @property
    def scorer(self) -> str:
        """Of a scores table: `NAME@VERSION:SPEC_DIGEST`."""
        return f"{self.setting('scorer')}:{self.setting('spec')}"
