"""What tasks pass to each other: small frozen references, never frames, models or paths.

A reference names a thing by digest; the store or the model cache turns it into the thing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from schemas.engine import EngineRecord
from schemas.frozen import Frozen

TableKind = Literal["problems", "completions", "scores", "selections", "step", "training"]


class Reference(Frozen):
    """A digest and what goes with it. Earlier versions stored a path too, which is ignored."""

    @model_validator(mode="before")
    @classmethod
    def _without_paths(cls, given: Any) -> Any:
        if isinstance(given, dict):
            return {name: value for name, value in given.items() if name not in ("path", "folder")}
        return given


class TableRef(Reference):
    """A stored table: its kind, the SHA-256 of its file and its number of rows."""

    kind: TableKind
    digest: str
    rows: int


class DrawnRows(TableRef):
    """Some rows of a stored table, which are not stored a second time.

    The digest is the one that a table of these rows would have; `places` are their row numbers in
    `drawn_from`.
    """

    drawn_from: TableRef
    places: tuple[int, ...]


class PolicyRef(Reference):
    """A policy: what the user called it, and its digest.

    `step` is 0 for a policy on disk. A policy in the middle of learning has the step it has
    reached and, as its digest, the lineage digest: what it started from and every table it
    learned from, which name its weights without hashing them at each step. A policy that a server
    holds has that server as its `engine`; where its files are not known, the digest is of its name.
    """

    name: str
    digest: str
    step: int = 0
    engine: Annotated[EngineRecord | None, Field(exclude_if=lambda value: value is None)] = None

    @property
    def next_step(self) -> int:
        """The step that would update it."""
        return self.step + 1


class RunRef(Frozen):
    """A run in MLflow: its id and its name."""

    run_id: str
    name: str
