"""What Rust says of a disk becomes the OSError that Python would have raised."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OS_ERROR = re.compile(r"\(os error (\d+)\)")


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Write a model's or a checkpoint's files into `folder`.

    safetensors and tokenizers tell a full disk as errors of their own; whoever explains errors
    knows OSError alone.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        number = _OS_ERROR.search(str(error))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(folder)) from error
