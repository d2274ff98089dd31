"""The warning that a model takes the plain path, and why."""

from __future__ import annotations

import logging

from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


def warn_slow_path(model: PreTrainedModel, reason: str) -> None:
    """Log the warning, each time; whoever shows the log may show equal lines once."""
    logger.warning(
        "%s takes the plain path, the same numbers several times slower: %s",
        type(model).__name__,
        reason,
    )
