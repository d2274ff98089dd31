"""What became of the inputs of one reader, with the smallest input of each different failure."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.room import Room
from tests.fuzz.targets import CORPUS, Target

ROOT = Path(__file__).resolve().parents[2]
MOST_TRIES = 400  # while a failing input is made smaller


@dataclass
class Tally:
    """Counts, and for each place that failed its error and its smallest input."""

    inputs: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    failures: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, target: Target, content: bytes, room: Room) -> None:
        """Try one input."""
        self.inputs += 1
        started = time.monotonic()
        place = failure_of(target, content, room, self.answers)
        self.seconds += time.monotonic() - started
        if place is not None:
            known = self.failures.get(place[0])
            if known is None or len(content) < len(known[1]):
                self.failures[place[0]] = (place[1], content)

    def as_json(self) -> str:
        """As text, for another process."""
        failures = {
            place: (story, base64.b64encode(content).decode())
            for place, (story, content) in self.failures.items()
        }
        return json.dumps([self.inputs, self.answers, failures, self.seconds])

    @classmethod
    def from_json(cls, text: str) -> Tally:
        """The tally that another process wrote."""
        inputs, answers, failures, seconds = json.loads(text)
        known = {
            place: (story, base64.b64decode(kept)) for place, (story, kept) in failures.items()
        }
        return cls(inputs, Counter(answers), known, seconds)

    def merge(self, other: Tally) -> None:
        """Add what another process found."""
        self.inputs += other.inputs
        self.answers += other.answers
        self.seconds += other.seconds
        self.failures = {**other.failures, **self.failures}


def failure_of(
    target: Target, content: bytes, room: Room, answers: Counter[str]
) -> tuple[str, str] | None:
    """Where and how a reader failed, None where it answered or refused."""
    try:
        answers[target.run(content, room)] += 1
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if Path(frame.filename).is_relative_to(ROOT / "tests")]
        product = [
            frame
            for frame in frames
            if frame.filename.startswith(f"{ROOT}/")
            and frame not in ours
            and "/.venv" not in frame.filename
        ]
        at = (product or frames)[-1]
        place = f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}"
        return place, "".join(traceback.format_exception(error))[-3000:]
    return None


def smaller(target: Target, content: bytes, room: Room, place: str) -> bytes:
    """A failing input with as much as possible taken out of it, failing at the same place."""
    size, tries = max(len(content) // 2, 1), 0
    while size and tries < MOST_TRIES:
        at = 0
        while at < len(content) and tries < MOST_TRIES:
            shorter = content[:at] + content[at + size :]
            tries += 1
            found = failure_of(target, shorter, room, Counter())
            if found is not None and found[0] == place:
                content = shorter
            else:
                at += size
        size //= 2
    return content


def keep(target: Target, content: bytes) -> Path:
    """A failing input in the corpus, to be tried every time from now on."""
    folder = CORPUS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"found-{hashlib.sha256(content).hexdigest()[:8]}"
    path.write_bytes(content)
    return path
