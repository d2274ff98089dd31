"""What a task is asked for: it names the result's key, and what the result must say of itself."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import version

from schemas.identity import digest_of
from schemas.provenance import Provenance, Settings
from schemas.references import TableKind

LIBRARIES = ("threeloops", "pyarrow", "torch", "transformers")


@lru_cache(maxsize=1)
def code_versions() -> Mapping[str, str]:
    """The versions that a table's bytes may depend on: this code, its libraries, Python."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


@dataclass(frozen=True)
class TaskKey:
    """The result that a task is asked for, by what its table's provenance has to be.

    The store takes everything from here: the name of the key, the provenance that is written with
    the table, and the check of a table that a key leads to. So no part can be forgotten in one of
    them.
    """

    kind: TableKind
    asked: Provenance

    @cached_property
    def digest(self) -> str:
        """The name of the key."""
        asked = self.asked
        inputs = {**asked.parents, **asked.config}
        return digest_of({"task": asked.producer, "inputs": inputs, "versions": asked.versions})


def task_key(
    kind: TableKind,
    producer: str,
    *,
    parents: Mapping[str, str] | None = None,
    config: Settings | None = None,
) -> TaskKey:
    """The key of a table of this kind that `producer` makes from `parents` with `config`.

    Everything that decides the table has to be in `parents` or `config`: digests of what it is
    made from, settings, and for what is computed in floating point the numerics too
    (`policy.model.numerics`). The versions of the code are added here. Time and paths do not
    belong in it.
    """
    made = made_now(kind, producer, parents, config)
    both = made.parents.keys() & made.config.keys()
    assert not both, f"{both} would stand for two things in the key"
    return TaskKey(kind, made)


def made_now(
    kind: TableKind,
    producer: str,
    parents: Mapping[str, str] | None,
    config: Settings | None,
) -> Provenance:
    """The provenance of a table that this code makes."""
    return Provenance(
        kind=kind,
        producer=producer,
        parents=parents or {},
        config=config or {},
        versions=code_versions(),
    )
