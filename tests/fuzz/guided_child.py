"""`python -m tests.fuzz.guided_child …`: the process in which atheris tries one reader.

atheris changes inputs at random and keeps those that reach new lines or branches of our code. It
sees only modules that are imported after it has begun, so nothing of ours is imported before.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOMS = ("artifacts", "engines", "flows", "policy", "schemas", "scorers")
HEARTBEAT = 200  # inputs between two notes of the tally
SECONDS, MEMORY_MB, LONGEST = 300, 4096, 4096


def main(name: str, seeds: str, many: str, scratch: str, start: str) -> None:
    """Try inputs until there were `many`; the tally is written to a file in `scratch`."""
    import atheris

    with atheris.instrument_imports(include=list(ROOMS)):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz.room import Room
    from tests.fuzz.tally import Tally

    target, room, tally = TARGETS[name], Room(Path(scratch) / "room"), Tally()
    result, most = Path(scratch) / "tally.json", int(many)

    def one(content: bytes) -> None:
        tally.add(target, content, room)
        if tally.inputs % HEARTBEAT == 0 or tally.inputs >= most:
            result.write_text(tally.as_json())

    limits = [f"-runs={most}", f"-timeout={SECONDS}", f"-rss_limit_mb={MEMORY_MB}"]
    more = [f"-max_len={LONGEST}", f"-seed={start}", f"-artifact_prefix={scratch}/stop-"]
    atheris.Setup(["guided", *limits, *more, seeds], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
