"""Load folders that may take all memory and time in a process that cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 12 * 2**30  # of addresses; what torch's libraries take depends on how it was built
CPU_SECONDS = 120
PROGRAM = """
import json, resource, sys, time
most, seconds, *folders = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (int(most), int(most)))
resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
from pathlib import Path
import torch, transformers
from policy.model.load import load_policy
from policy.model.template import get_template
from schemas.errors import InputError

def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

for folder in map(Path, folders):
    started, before, line = time.process_time(), used(), None
    try:
        policy = load_policy(folder, name="m", device="cpu")
        get_template("few_shot_plain@1").encode(["What is 9 + 9?"], policy.tokenizer)
    except InputError as error:
        line = str(error)
    print(json.dumps([line, time.process_time() - started, used() - before]), flush=True)
"""


@dataclass(frozen=True)
class Outcome:
    """How a folder was refused, None where it was loaded, and what that took."""

    line: str | None
    seconds: float
    bytes: int


def outcomes(folders: Sequence[Path]) -> list[Outcome]:
    """What comes of loading each folder and encoding a prompt; the process must get to the end."""
    arguments = (str(MOST_BYTES), str(CPU_SECONDS), *map(str, folders))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    found = [Outcome(*json.loads(line)) for line in done.stdout.splitlines()]
    assert len(found) == len(folders), done.stderr[-2000:] or f"ended with {done.returncode}"
    return found
