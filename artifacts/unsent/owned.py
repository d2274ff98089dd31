"""Whose a run is: what was kept about a run that another process has gone on with is not sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from artifacts.unsent.answers import asked
from artifacts.unsent.calls import MISSING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

OWNER = "threeloops.owner"  # the tag with the process that writes a run
OWNED_BY = "owner"  # in a record: what that tag said when the record was kept
ENDING = ("update run", "end run")  # calls that say how a run goes on
PATIENCE = 5.0  # seconds for a server that has just answered
Words = Mapping[str, Any]


def owned_by(run: Run | None) -> dict[str, str]:
    """Who has a run, as a record keeps it; nothing where that is not known."""
    owner = run.data.tags.get(OWNER) if run is not None else None
    return {OWNED_BY: str(owner)} if owner else {}


class RunOwners:
    """Who has the runs of some records now, as MLflow says.

    It is asked once for each run, and again right before a call that says how the run goes on.
    """

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._now: dict[str, str] = {}

    def went_to_another(self, call: str, words: Words) -> bool:
        """Whether the run of a call has another owner than when the call was kept.

        UnreachableError where MLflow does not answer. Earlier versions kept no owner: then nothing
        is known, and the call is made. So it is for what is made anew, and for a run that is gone.
        """
        before, run = words.get(OWNED_BY), words.get("run")
        if not before or not run or "id" in words:
            return False
        if run not in self._now or call in ENDING:
            self._now[run] = asked(lambda again: self._asked(run), PATIENCE)
        now = self._now[run]
        if call == "set tag" and words["key"] == OWNER and now in ("", before, words["value"]):
            self._now[run] = words["value"]  # it was told already, or is told next
            return False
        return now not in ("", before)

    def _asked(self, run: str) -> str:
        from mlflow.exceptions import MlflowException

        try:
            return str(self._client.get_run(run).data.tags.get(OWNER, ""))
        except MlflowException as error:
            if error.error_code != MISSING:
                raise
            return ""
