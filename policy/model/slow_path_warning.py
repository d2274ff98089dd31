"""Says that a model takes the plain path, and why: one line in the life of a process.

It decides nothing; sampling and learning find out by themselves whether they can share.
"""

from __future__ import annotations

import logging

from transformers import PreTrainedModel

logger = logging.getLogger(__name__)
_told: set[str] = set()  # classes of models


def tell_plain(model: PreTrainedModel, reason: str) -> None:
    """Log a warning, unless there was one for this class of models already.

    A run loads a model several times, samples from it and learns with it: it is all one matter.
    """
    kind = type(model).__name__
    if kind not in _told:
        _told.add(kind)
        logger.warning(
            "%s takes the plain path, the same numbers several times slower: %s", kind, reason
        )
