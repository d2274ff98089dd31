"""What decides the bytes of a table besides what was asked for: who made it, in one record."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.frozen import Frozen


class Maker(Frozen):
    """The versions of code and libraries, and the numerics of a process.

    `numerics` is empty for a process that computes nothing, as where a server answers.
    """

    versions: Mapping[str, str]
    numerics: str = ""

    def unlike(self, other: Maker) -> str:
        """The first thing in which this one differs from another, in words; empty for none."""
        for name, version in other.versions.items():
            if (here := self.versions.get(name, "none")) != version:
                return f"{name} {here}, not {version}"
        if self.numerics != other.numerics:
            return f"{self.numerics}, not {other.numerics}"
        return ""
