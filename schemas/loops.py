"""The three loops in words: which one a run was, and what it changed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Loop:
    """One of the three uses of the same scorer."""

    letter: str
    name: str
    verb: str
    changed: str

    @property
    def headline(self) -> str:
        """One line that opens every result of this loop."""
        return f"Loop {self.letter}: {self.name} (changed: {self.changed})"


EVALUATION = Loop("A", "evaluation", "eval", "nothing")
SELECTION = Loop("B", "selection", "select", "which output is used")
LEARNING = Loop("C", "learning", "learn", "the model")
BEFORE, AFTER = "before", "after"  # the two measurements of a learning run
LOOPS = (EVALUATION, SELECTION, LEARNING)
# no loop of its own: a run that holds one of each
DEMO = Loop("ABC", "all three", "demo", "nothing, then the output, then the model")


BY_LETTER = {loop.letter: loop for loop in (*LOOPS, DEMO)}


def loop_named(letter: str) -> Loop:
    """The loop with this letter, or the demo; KeyError when there is none."""
    return BY_LETTER[letter]
