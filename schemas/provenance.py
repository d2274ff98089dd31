"""What made a table: it travels in the metadata of the Parquet file."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, JsonValue

from schemas.errors import StoreError
from schemas.identity import digest_of

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

    @property
    def digest(self) -> str:
        """SHA-256 of all of it: equal provenance, equal digest."""
        return digest_of(self.model_dump(mode="json"))

    def setting(self, name: str) -> str:
        """A setting that is text; StoreError where the table has none of this name."""
        if name not in self.config:
            raise self._without("setting", name)
        return str(self.config[name])

    def parent(self, name: str) -> str:
        """The digest of a table that it was made from; StoreError where it names none."""
        if name not in self.parents:
            raise self._without("parent", name)
        return self.parents[name]

    def _without(self, what: str, name: str) -> StoreError:
        made = f"a {self.kind or 'foreign'} table by {self.producer or 'another program'}"
        return StoreError(f"its provenance has no {what} {name}", made)

    @property
    def scorer(self) -> str:
        """Of a scores table: `NAME@VERSION:SPEC_DIGEST`."""
        return f"{self.setting('scorer')}:{self.setting('spec')}"
