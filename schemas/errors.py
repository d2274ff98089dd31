"""Every error that threeloops raises on purpose, as one tree.

    ThreeLoopsError
    ├── InputError     what the user gave cannot be used     exit code 2
    ├── RefusedError   the question was fine, the answer is no exit code 1
    ├── StoppedError   learning went wrong and was stopped     exit code 1
    ├── RanksError     another process of several has ended    exit code 1
    └── StoreError     a stored table is not what it says      exit code 2

A traceback that a user sees is a defect of the program, never an answer to the user's input.
"""

from __future__ import annotations


class ThreeLoopsError(Exception):
    """Root of the tree; catch it to catch everything that threeloops raises on purpose."""


class InputError(ThreeLoopsError):
    """The user's input cannot be used: one line that says what, where and what to do."""

    def __init__(self, what: str, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        head = f"{where}: {what}" if where else what
        super().__init__(f"{head}; {remedy}" if remedy else head)

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        return type(self), (self.what, self.where, self.remedy)


class StoreError(InputError):
    """A stored table is missing, or its content is not what its digest or schema says."""


class RefusedError(ThreeLoopsError):
    """A gate or a comparison answers no; the message is the reason."""


class StoppedError(ThreeLoopsError):
    """Learning had to stop at `step`, before its update or because of what that did.

    `last_good` is the newest step after which the policy was known to be sound, 0 for the start.
    `kept` says which policy was kept and where.
    """

    remedy = "start again with other settings"

    def __init__(self, step: int, reason: str, last_good: int, kept: str = "") -> None:
        self.step, self.reason, self.last_good, self.kept = step, reason, last_good, kept
        line = f"learning stopped at step {step}: {reason}"
        super().__init__(f"{line}; {kept}" if kept else line)

    def __reduce__(self) -> tuple[type[StoppedError], tuple[int, str, int, str]]:
        return type(self), (self.step, self.reason, self.last_good, self.kept)

    def having(self, kept: str) -> StoppedError:
        """The same error, with what was kept."""
        return type(self)(self.step, self.reason, self.last_good, kept)


class RanksError(ThreeLoopsError):
    """A process that learned together with this one has ended, or could not do its part."""

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what, self.remedy = what, remedy
        super().__init__(f"{what}; {remedy}" if remedy else what)

    def __reduce__(self) -> tuple[type[RanksError], tuple[str, str]]:
        return type(self), (self.what, self.remedy)

    def having(self, remedy: str) -> RanksError:
        """The same error, with what to do."""
        return type(self)(self.what, remedy)


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
