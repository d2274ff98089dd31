"""What `threeloops gc` says: what nothing refers to, and whether it was dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from schemas.result_parts import OMITTED_IF_NONE, ResultModel


class Dropped(ResultModel):
    """How many pieces of one kind, and their size."""

    count: int
    bytes: int


class GcOutput(ResultModel):
    """What nothing refers to, by kind: dropped with `deleted`, else what would be.

    `paths` are those below the data folder. `kept_tables` stay: they are referred to, or were made
    or used lately. `hours` is what counts as lately; where runs are under way, `underway` names
    them, and what was used since the first of them began stays too. `in_use` counts what another
    command used meanwhile, so that it stayed. `store` is a shared store, which is left alone.
    """

    folder: str
    deleted: bool
    kinds: Mapping[str, Dropped]
    bytes: int
    paths: tuple[str, ...]
    kept_tables: int
    hours: int
    underway: tuple[str, ...] = ()
    in_use: int = 0
    store: Annotated[str | None, OMITTED_IF_NONE] = None
