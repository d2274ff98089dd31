"""Identities: the digest of a thing and the seed derived from a name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text. Non-finite floats raise."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def digest_of(value: Any) -> str:
    """Hexadecimal SHA-256 of the canonical JSON of `value` (64 characters)."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


def file_digest(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bytes_digest(content: bytes) -> str:
    """Hexadecimal SHA-256 of bytes: that of a file with this content."""
    return hashlib.sha256(content).hexdigest()


def derive_seed(*parts: Any) -> int:
    """A seed in [0, 2**63) that depends on every part and on nothing else."""
    return int(digest_of(list(parts))[:16], 16) >> 1
