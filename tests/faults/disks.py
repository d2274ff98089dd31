"""Small disks of their own, so that a full one harms nothing else."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

SIZE = "48m"


@contextlib.contextmanager
def small_disk() -> Iterator[Path | None]:
    """A disk in memory of `SIZE`; None where this user may not mount one."""
    place = Path(tempfile.mkdtemp(prefix="faults-disk-"))
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    # a machine without that program cannot mount either
    able = shutil.which("mount") is not None
    mounted = able and subprocess.run(words, capture_output=True).returncode == 0
    try:
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()
