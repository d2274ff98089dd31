"""Planted secrets, looked for in whatever a command leaves: as they are, and in base64."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path


def forms(secrets: Iterable[str]) -> Iterator[bytes]:
    """Each secret in the ways in which it may be written."""
    for value in secrets:
        yield value.encode()
        for before in ("", "x", "xx"):  # base64 of it, at any place inside a longer text
            coded = base64.b64encode(f"{before}{value}".encode()).rstrip(b"=")
            yield coded[4:-2]


def found_in(content: bytes, secrets: Iterable[str]) -> list[str]:
    """Which of them a content holds."""
    return [form.decode() for form in forms(secrets) if form in content]


def told(place: Path, secrets: Iterable[str]) -> list[str]:
    """The files below a folder that have a secret in them, and which."""
    known = list(secrets)
    return [
        f"{path.relative_to(place)}: {secret}"
        for path in sorted(place.rglob("*"))
        if path.is_file() and not path.is_symlink()
        for secret in found_in(_content(path), known)
    ]


def _content(path: Path) -> bytes:
    """The bytes of a file; one that a running server has just deleted has none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
