"""The distribution that tokens are sampled from, written out in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence

from schemas.config import SamplingSettings


def distribution(logits: Sequence[float], settings: SamplingSettings) -> list[float]:
    """The probability of each token: temperature, then top-k, then top-p, then renormalised."""
    if settings.temperature == 0:
        best = max(range(len(logits)), key=lambda token: (logits[token], -token))
        return [float(token == best) for token in range(len(logits))]
    scaled = [logit / settings.temperature for logit in logits]
    kept = set(range(len(scaled)))
    if settings.top_k:
        least = sorted(scaled)[-min(settings.top_k, len(scaled))]
        kept = {token for token in kept if scaled[token] >= least}
    highest = max(scaled)
    weights = [
        math.exp(value - highest) if token in kept else 0.0 for token, value in enumerate(scaled)
    ]
    total = sum(weights)
    if settings.top_p < 1:
        reached, kept = 0.0, set()
        for token in sorted(range(len(weights)), key=lambda token: (-weights[token], token)):
            if reached >= settings.top_p:
                break
            kept.add(token)
            reached += weights[token] / total
        weights = [weight if token in kept else 0.0 for token, weight in enumerate(weights)]
        total = sum(weights)
    return [weight / total for weight in weights]
