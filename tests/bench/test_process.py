"""How a measurement is started."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bench.process import run


def test_what_a_measurement_leaves_is_nobody_elses_to_read(tmp_path: Path) -> None:
    made, python = tmp_path / "made", tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho kept > {made}\necho '{{}}'\n")
    python.chmod(0o700)
    before = os.umask(0o022)
    try:
        run("nothing", {}, python=str(python))
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
