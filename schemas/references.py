"""What tasks pass to each other: small frozen references, never frames or models.

A reference names a thing by digest; the store or the loader turns it into the thing.
"""

from __future__ import annotations

from typing import Literal

from schemas.config import Frozen
from schemas.identity import digest_of

TableKind = Literal["problems", "completions", "scores", "selections", "training"]


class TableRef(Frozen):
    """A stored table: its kind, the SHA-256 of its file, its path and its number of rows."""

    kind: TableKind
    digest: str
    path: str
    rows: int


class PolicyRef(Frozen):
    """A policy: what the user called it, the folder that it loads from, and its digest.

    `step` is 0 for a policy on disk. A policy in the middle of learning has the step it has
    reached and, as its digest, the lineage digest: what it started from and every table it
    learned from, which name its weights without hashing them at each step.
    """

    name: str
    folder: str
    digest: str
    step: int = 0

    @property
    def next_step(self) -> int:
        """The step that would update it."""
        return self.step + 1


class Instrument(Frozen):
    """What must be equal before two numbers may be compared, part by part.

    The number of samples and the seed are not parts: they change how precisely a rate is known,
    not which rate it is.
    """

    dataset: str
    split: str
    prompt_template: str
    scorer: str
    sampling: str

    @property
    def digest(self) -> str:
        """SHA-256 over the parts."""
        return digest_of(self.model_dump())

    def as_json(self) -> dict[str, object]:
        """The parts and their one digest, for a result."""
        return {"digest": self.digest, "parts": self.model_dump()}
