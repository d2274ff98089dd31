"""argparse with mistakes said in one line."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping, Sequence
from typing import NoReturn, Protocol

from schemas.errors import InputError


class NewVerb(Protocol):
    """Makes the parser of one more verb."""

    def __call__(self, name: str, summary: str, about: str = "") -> argparse.ArgumentParser:
        """`name` as it is typed, `summary` for the list of verbs, `about` for its own help."""


class OneLineParser(argparse.ArgumentParser):
    """argparse, which says a mistake as an error of ours instead of in two lines."""

    verbs: Mapping[str, OneLineParser]  # the parser of each verb, in that of all

    def error(self, message: str) -> NoReturn:
        """InputError with what argparse says, and where help is."""
        verb = self.prog.removeprefix("threeloops").strip()
        what = message.removeprefix("argument ")
        raise InputError(what, verb, f"`{self.prog} --help` says what can be given")

    def refuse_unknown(self, words: Sequence[str]) -> NoReturn:
        """InputError for words that nothing stands for, with the option that was probably meant."""
        known = [name for action in self._actions for name in action.option_strings]
        close = difflib.get_close_matches(words[0].partition("=")[0], known, 1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise InputError(
            f"unrecognized arguments: {' '.join(words)}",
            self.prog.removeprefix("threeloops").strip(),
            f"{meant}`{self.prog} --help` says what can be given",
        )
