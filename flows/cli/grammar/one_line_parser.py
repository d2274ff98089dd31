"""argparse with mistakes said in one line."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Protocol

from schemas.errors import InputError


class NewVerb(Protocol):
    """Makes the parser of one more verb."""

    def __call__(self, name: str, summary: str, about: str = "") -> argparse.ArgumentParser:
        """`name` as it is typed, `summary` for the list of verbs, `about` for its own help."""


class OneLineParser(argparse.ArgumentParser):
    """argparse, which says a mistake as an error of ours instead of in two lines."""

    verbs: Mapping[str, OneLineParser]  # the parser of each verb, in that of all

    after_dashes: Sequence[str] = ()

    def parse_known_args(  # type: ignore[override]  # the overloads of argparse say no more
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse does; what stands after `--` is kept for an error."""
        words = list(sys.argv[1:] if args is None else args)
        self.after_dashes = words[words.index("--") + 1 :] if "--" in words else ()
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """InputError with what argparse says, and where help is."""
        verb = self.prog.removeprefix("threeloops").strip()
        what, hint = message.removeprefix("argument "), ""
        if wrong := re.match(r"VERB: invalid choice: '([^']*)'", what):
            close = difflib.get_close_matches(wrong[1], list(self.verbs), 1)
            if close:
                what, hint = f"there is no verb {wrong[1]}", f"did you mean {close[0]}? "
        elif "required" in what and any(word.startswith("--") for word in self.after_dashes):
            hint = "options stand before --; "
        raise InputError(what, verb, f"{hint}`{self.prog} --help` says what can be given")

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
