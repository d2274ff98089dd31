"""Which engine made a completions table, read from its provenance."""

from __future__ import annotations

from pydantic import ValidationError

from schemas.engine import NOT_KNOWN, EngineRecord
from schemas.errors import StoreError
from schemas.provenance import Provenance

LIBRARIES = ("torch", "transformers")


def engine_of(made: Provenance) -> EngineRecord | None:
    """The engine of a completions table by its provenance; None for completions from outside.

    StoreError where the provenance says something else in its place.
    """
    if written := made.config.get("engine"):
        try:
            return EngineRecord.model_validate_json(str(written))
        except ValidationError:
            raise StoreError("its provenance cannot be read", "metadata of a table") from None
    if numerics := made.config.get("numerics"):
        words = str(numerics).split()  # `cpu float32 x86_64 AVX2 2 threads`
        with_libraries = ", ".join(f"{name} {made.versions.get(name)}" for name in LIBRARIES)
        return EngineRecord(
            kind="in_process",
            name="threeloops",
            version=f"{made.versions.get('threeloops', NOT_KNOWN)} ({with_libraries})",
            dtype=words[1] if len(words) > 1 else NOT_KNOWN,
            model_digest=str(made.config.get("policy", NOT_KNOWN)),
        )
    return None
