"""Tokenizers that a test has changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def changed(folder: Path, **parts: Any) -> Path:
    """The tokenizer.json of a model's folder, with these parts of it replaced."""
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | parts))
    return file
