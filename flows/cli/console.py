"""The console that all output passes through: text from elsewhere cannot steer the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from artifacts.text.visible import printable
from flows.cli.streams import BROKEN_PIPE, discard_stdout

OURS = "\n"  # the one control character that our own texts hold


class SafeConsole(Console):
    """rich's console, in which a text is only text: what a terminal would obey is written out.

    Names, paths and answers can hold escape sequences, carriage returns or marks that turn the
    direction of writing. Styles and cursor movements of rich itself are kept, as they are not text.
    """

    def on_broken_pipe(self) -> None:
        """End as other programs do when nobody reads on; rich's own code would mean "no"."""
        discard_stdout()
        raise SystemExit(BROKEN_PIPE)

    def render_str(self, text: str, **how: Any) -> Text:
        """As rich's, made printable before its width is measured."""
        return super().render_str(printable(text, keep=OURS), **how)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As rich's; everything that is printed comes through here, whatever it was made from."""
        segments = super().render(renderable, options)
        for segment in _without_ends(segments) if isinstance(renderable, Text) else segments:
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text, keep=OURS), segment.style)


def _without_ends(segments: Iterable[Segment]) -> Iterator[Segment]:
    """A text without the spaces at which rich breaks its lines, in whatever style they are."""
    for segment, following in pairwise([*segments, Segment("")]):
        text = re.sub(" +\n", "\n", segment.text)
        if following.text.startswith("\n"):
            text = text.rstrip(" ")
        yield segment._replace(text=text)
