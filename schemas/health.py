"""What `threeloops doctor` finds in a data folder and on the machine."""

from __future__ import annotations

from typing import Annotated, Literal

from schemas.result_parts import OMITTED_IF_NONE, ResultModel

Level = Literal["damage", "remark"]


class Finding(ResultModel):
    """One thing that is not as it should be.

    - `name`: which kind of thing, one of `artifacts.doctor.meanings.MEANINGS`.
    - `level`: `damage` where something that was kept is lost or altered, or no command can work;
      `remark` for all else.
    - `where`: a path below the data folder, or the name of what it is about.
    - `what`, `means`, `advice`: what was found, what follows from it, what to do.
    - `repaired`: what `--repair` did about it.
    """

    name: str
    level: Level
    where: str
    what: str
    means: str
    advice: str
    repaired: Annotated[str | None, OMITTED_IF_NONE] = None


class Checked(ResultModel):
    """How much was looked at; `read_bytes` is what was read to compare digests.

    `shared` is what was looked for in a shared store, and `leases` those that are held there.
    """

    tables: int = 0
    keys: int = 0
    runs: int = 0
    versions: int = 0
    checkpoints: int = 0
    models: int = 0
    shared: int = 0
    leases: int = 0
    read_bytes: int = 0
    seconds: float = 0.0


class DoctorOutput(ResultModel):
    """What was looked at, what was found, and what was repaired.

    With `--repair`, `repaired` is what was done, and `findings` is what a second look found
    after it. `set_aside` is the folder that holds what was moved. `damaged` counts the findings of
    the level `damage`; the exit code is 1 if there are any. `store` is the shared store, where one
    is named. `mlflow` is the MLflow that is named, if it is not the data folder's own: it is not
    looked into.
    """

    folder: str
    store: Annotated[str | None, OMITTED_IF_NONE] = None
    mlflow: Annotated[str | None, OMITTED_IF_NONE] = None
    exists: bool
    checked: Checked
    damaged: int
    findings: tuple[Finding, ...]
    repaired: tuple[Finding, ...] = ()
    set_aside: Annotated[str | None, OMITTED_IF_NONE] = None
    exit_code: Annotated[int | None, OMITTED_IF_NONE] = None
