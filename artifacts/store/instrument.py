"""The instrument of a measurement, read from the provenance of its tables."""

from __future__ import annotations

import json

import pyarrow as pa

from artifacts.store.parquet_table import provenance_of
from artifacts.store.tables import content_digest
from schemas.identity import canonical_json
from schemas.instrument import Instrument
from schemas.provenance import Provenance
from schemas.server import ServerSettings

EXTERNAL = "external"
SOURCE = "source"  # the setting of a problems table that says where it is from


def dataset_digest(problems: pa.Table) -> str:
    """The digest of what is asked and expected, whatever else a problems table says."""
    return content_digest(problems.select(["problem_id", "prompt", "expected_answer"]))


def instrument_of(problems: pa.Table, completions: pa.Table, scorer: str) -> Instrument:
    """The instrument that measured these completions: read from their provenance, not assumed.

    `scorer` is `NAME@VERSION:SPEC_DIGEST`. A dataset of the hub is named with its commit, and a
    generated one with its settings, before the digest.
    """
    made = provenance_of(completions)
    return Instrument(
        dataset=_dataset(problems),
        split="+".join(sorted(problems["split"].unique().to_pylist())),
        prompt_template=made.setting("template"),
        scorer=scorer,
        sampling=_sampling(made),
    )


def _sampling(made: Provenance) -> str:
    """The sampling settings; with what else a server was told that may change what it draws."""
    sampling = made.setting("sampling")
    if "request" not in made.config:
        return sampling
    extra = ServerSettings.model_validate_json(made.setting("request")).reshaping
    return canonical_json(json.loads(sampling) | {"extra_body": extra}) if extra else sampling


def _dataset(problems: pa.Table) -> str:
    source = provenance_of(problems).config.get(SOURCE)
    digest = dataset_digest(problems)
    return f"{source}:{digest}" if source else digest
