"""Looking at growing evidence more than once without being fooled by it."""

from __future__ import annotations

from math import pi

ALPHA = 0.05


def level_of_look(look: int) -> float:
    """The level that an interval must have at the k-th look at a question: 1 − 0.05·6/(π²k²).

    The chances of error that the looks may spend add up to 0.05 over any number of looks, whatever
    the looks have in common (Bonferroni, 1936, with weights 1/k²). The first look has a level of
    97.0 %, the third of 99.7 %. Raises ValueError for a look below 1.
    """
    if look < 1:
        raise ValueError(f"there is no look {look}")
    return 1 - ALPHA * 6 / (pi**2 * look**2)
