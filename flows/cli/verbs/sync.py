"""The verb `sync`: send what MLflow and Prefect could not be told, and say what is left."""

from __future__ import annotations

from collections import Counter

from artifacts.tracking.connection import records
from artifacts.unsent.journal import unsent_files
from artifacts.unsent.send import Outcome, send_to_mlflow
from flows.cli.terminal import Terminal
from flows.orchestration.settings import configure_prefect
from schemas.errors import ThreeLoopsError
from schemas.outputs import SyncOutput
from tasks.runtime.runtime import Runtime

SECONDS = 3600.0  # nobody waits for this verb but the one who asked
NOT_ALL_SENT = 1


def send_kept(runtime: Runtime, terminal: Terminal) -> SyncOutput:
    """Send everything that is kept in the data folder to the servers of this process.

    Its exit code is 1 where something is left.
    """
    outcomes = [_to_mlflow(runtime), _to_prefect(runtime, terminal)]
    sent: Counter[str] = sum((one.sent + one.gone for one in outcomes), Counter())
    left = sum(one.left for one in outcomes)
    reasons = tuple(reason for one in outcomes for reason in one.reasons)
    for one in outcomes:
        for word, counted in (("sent", one.sent), ("gone", one.gone)):
            for kind, count in sorted(counted.items()):
                terminal.out.print(f"{word}  {count:6}  {kind}", markup=False)
    for reason in reasons:
        terminal.fail(reason)
    if left:
        terminal.fail(f"{records(left)} not sent; nothing of it is lost")
    else:
        terminal.out.print("everything was sent" if sent else "nothing is kept: all was sent")
    return SyncOutput(
        sent=dict(sent), left=left, reasons=reasons, exit_code=NOT_ALL_SENT if left else 0
    )


def _to_mlflow(runtime: Runtime) -> Outcome:
    tracking = runtime.archive.tracking
    if not unsent_files(runtime.data_dir, "mlflow"):
        return Outcome()
    tracking.send_seconds = SECONDS
    try:
        tracking.client  # noqa: B018  # what is kept is sent when it is made
    except ThreeLoopsError as error:
        outcome = send_to_mlflow(None, runtime.data_dir, tracking.server, 0.0)
        outcome.reasons.append(str(error))
        return outcome
    return tracking.unsent


def _to_prefect(runtime: Runtime, terminal: Terminal) -> Outcome:
    outcome = Outcome()
    if not unsent_files(runtime.data_dir, "prefect"):
        return outcome
    configure_prefect(runtime.data_dir)
    from flows.orchestration.own_server import start_own_server
    from flows.orchestration.untold import kept_for, prefect_address, tell_prefect

    if not kept_for(runtime.data_dir, prefect_address(runtime.data_dir)):
        return tell_prefect(runtime.data_dir, outcome, reachable=False)
    try:
        start_own_server(runtime.data_dir, terminal.note, outcome)
    except ThreeLoopsError as error:
        tell_prefect(runtime.data_dir, outcome, reachable=False)
        outcome.reasons.append(str(error))
    return outcome
