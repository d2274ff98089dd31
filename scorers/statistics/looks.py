"""Looking at growing evidence more than once without being fooled by it."""

from __future__ import annotations

from math import pi

ALPHA = 0.05


def level_of_look(look: int) -> float:
    """The level that an interval must have at the k-th look at a question: 1 − 0.05·6/(π²k²).

    The chances of error of looks that were planned add up to 0.05 over any number of them, whatever
    they have in common (Bonferroni, 1936, with weights 1/k²). Looks that are chosen by what earlier
    ones showed are not covered by that sum; `bench.referee` simulates such looks, in which the best
    of several candidates is measured again and again. The first look has a level of 97.0 %, the
    third of 99.7 %. Raises ValueError for a look below 1.
    """
    if look < 1:
        raise ValueError(f"there is no look {look}")
    return 1 - ALPHA * 6 / (pi**2 * look**2)
