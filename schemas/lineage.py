"""What a run or a version was made from, what came of it, and whether it is all still there."""

from __future__ import annotations

from typing import Annotated, Literal

from schemas.result_parts import OMITTED_IF_NONE, ResultModel

LinkState = Literal["matches", "differs", "missing", "not known"]
Role = Literal[
    "dataset",
    "model",
    "completions",
    "scores",
    "selection",
    "training",
    "step",
    "version",
    "decision",
]


class LineageLink(ResultModel):
    """One thing on the way, with the digest that was recorded and how it is now.

    - `stage`: `before`, `after` or `step N` of a learning run, else empty.
    - `state`: `matches` where the stored bytes have the digest; `not known` where none was
      recorded.
    - `note`: why it does not match, or what else there is to say.
    """

    role: Role
    stage: str
    name: str
    digest: str | None
    state: LinkState
    where: str
    note: str = ""


class LineageOutput(ResultModel):
    """From the dataset to the decision; `intact` says that nothing differs or is missing.

    The exit code is 1 where something does.
    """

    asked: str
    run_id: str
    name: str
    loop: str
    links: tuple[LineageLink, ...]
    intact: bool
    exit_code: Annotated[int | None, OMITTED_IF_NONE] = None
