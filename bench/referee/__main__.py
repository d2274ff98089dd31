"""Run by the driver like every other measurement: one process, one record."""

from __future__ import annotations

from bench.process import answer
from bench.referee.claims import measure

if __name__ == "__main__":
    answer(measure)
