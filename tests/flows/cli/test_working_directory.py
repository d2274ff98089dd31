"""Files in the working directory, which may be downloaded, are never run by themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from artifacts.store.data_dir import DataDir

REPLAY = ["--dataset", "d.jsonl", "--completions", "a.jsonl"]
ROOT = Path(__file__).parents[3]
RUN = "import sys; from flows.cli.parser import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.slow
def test_modules_and_packages_of_somebody_else_are_not_found(
    tmp_path: Path, data_dir: DataDir
) -> None:
    folder = tmp_path / "downloaded"
    evil = "import pathlib; pathlib.Path(__file__).with_name('was-run').touch()\n"
    described = folder / "evil-1.0.dist-info"
    described.mkdir(parents=True)
    (folder / "evil.py").write_text(evil)
    (folder / "bottleneck.py").write_text(evil)  # pandas imports it where it is installed
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[threeloops.scorers]\nfinal_int = evil:scorer\n")
    (folder / "d.jsonl").write_text('{"id": "1", "prompt": "1?", "expected_answer": 1}\n')
    (folder / "a.jsonl").write_text('{"id": "1", "completion": "Final: 1"}\n')
    done = subprocess.run(
        # as an installed command, which does not have the working directory on its path
        [sys.executable, "-P", "-c", RUN, "eval", *REPLAY],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "THREELOOPS_HOME": str(data_dir.root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not (folder / "was-run").exists()
