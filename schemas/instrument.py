"""The instrument: what must be equal before two numbers may be compared."""

from __future__ import annotations

from schemas.frozen import Frozen
from schemas.identity import digest_of


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
