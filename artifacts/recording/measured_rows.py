"""A measurement with the rows of its tables, read and joined once for all that is made of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from artifacts.report.views import joined
from artifacts.store.tables import Store
from schemas.measurements import Measurement


@dataclass(frozen=True)
class MeasuredRows:
    """What was measured, and its problems, completions and scores as Arrow tables."""

    measured: Measurement
    problems: pa.Table
    completions: pa.Table
    scores: pa.Table

    @classmethod
    def read(cls, store: Store, measured: Measurement) -> MeasuredRows:
        """The rows behind a measurement; StoreError where a table was lost or changed."""
        return cls(
            measured,
            store.read(measured.problems),
            store.read(measured.completions),
            store.read(measured.scores),
        )

    @cached_property
    def joined(self) -> pa.Table:
        """Every completion with its problem and its score (`views.joined`)."""
        return joined(self.problems, self.completions, self.scores)
