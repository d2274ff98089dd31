"""What a bench prints that is a program of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.clusters import ROOT, bare_environment


def printed_by(module: str, *words: str, scratch: Path) -> str:
    """The output of a module of Python that ends well; what it makes for itself is in `scratch`."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT,
        env=bare_environment(TMPDIR=str(scratch)),
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
