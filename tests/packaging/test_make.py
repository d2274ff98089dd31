"""What the Makefile does by itself, where a command of ours would do it otherwise."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_model_is_nobody_elses_to_read(tmp_path: Path) -> None:
    made = tmp_path / "made"
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho model > {made}\n")
    python.chmod(0o700)
    subprocess.run(
        [
            *("make", "model", f"BIN={tmp_path}", f"PYTHON={sys.executable}"),
            # what setup would install is taken for installed
            *(f"INSTALLED={python}", f"--assume-old={python}"),
        ],
        cwd=ROOT,
        umask=0o022,
        env=os.environ | {"THREELOOPS_HOME": str(tmp_path / "home")},
        check=True,
        capture_output=True,
    )
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
