"""The instrument of a measurement, read from the provenance of its tables."""

from __future__ import annotations

import pyarrow as pa

from artifacts.store.tables import content_digest, provenance_of
from schemas.instrument import Instrument

EXTERNAL = "external"


def dataset_digest(problems: pa.Table) -> str:
    """The digest of what is asked and expected, whatever else a problems table says."""
    return content_digest(problems.select(["problem_id", "prompt", "expected_answer"]))


def instrument_of(problems: pa.Table, completions: pa.Table, scorer: str) -> Instrument:
    """The instrument that measured these completions: read from their provenance, not assumed.

    `scorer` is `NAME@VERSION:SPEC_DIGEST`.
    """
    made = provenance_of(completions)
    return Instrument(
        dataset=dataset_digest(problems),
        split="+".join(sorted(problems["split"].unique().to_pylist())),
        prompt_template=made.setting("template"),
        scorer=scorer,
        sampling=made.setting("sampling"),
    )
