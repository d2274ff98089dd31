"""The level of each look: stricter and stricter, and never more than 5 % of error in all."""

from __future__ import annotations

import pytest

from scorers.statistics.looks import level_of_look


def test_the_errors_of_all_looks_add_up_to_five_percent() -> None:
    spent = [1 - level_of_look(look) for look in range(1, 100_000)]
    assert spent == sorted(spent, reverse=True)
    assert sum(spent) == pytest.approx(0.05, abs=1e-6)
    assert sum(spent) < 0.05


def test_the_first_look_by_hand() -> None:
    assert level_of_look(1) == pytest.approx(0.9696, abs=1e-4)
    assert level_of_look(3) == pytest.approx(0.9966, abs=1e-4)
    with pytest.raises(ValueError, match="no look 0"):
        level_of_look(0)
