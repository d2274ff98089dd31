"""Each run of a loop and the Prefect flow run that it happens in know each other by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from uuid import UUID

from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.utilities.urls import url_for

from artifacts.text.markdown import code
from artifacts.tracking.named import is_server
from artifacts.tracking.run import Place, TrackedRun, tracked_run
from artifacts.unsent.servers import without_password
from flows.orchestration.page import showing_progress
from flows.orchestration.up_file import in_use
from schemas.config import RunConfig
from schemas.loops import Loop
from tasks.runtime.runtime import Runtime
from tasks.runtime.side_channel import SideChannel

ARTIFACT = "mlflow-run"
TOP = Place()


@contextmanager
def recorded_run(
    runtime: Runtime, loop: Loop, config: RunConfig, place: Place = TOP
) -> Iterator[TrackedRun]:
    """`tracked_run`, linked with the Prefect flow run that is going on, if there is one."""
    with tracked_run(runtime.archive, loop, config, place) as run:
        link_flow_run(runtime.side_channel, run, config, nested=bool(place.stage))
        with nullcontext() if place.stage else showing_progress(runtime):
            yield run


def link_flow_run(
    channel: SideChannel, run: TrackedRun, config: RunConfig, *, nested: bool = False
) -> None:
    """Name the Prefect flow run in the MLflow run, and the MLflow run in the Prefect flow run.

    Where both have a page the names are links. The flow run is also tagged with loop, model and
    dataset, unless this run is `nested` in one whose tags it has.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    flow_run = context.flow_run
    identity, name = str(flow_run.id), str(flow_run.name)
    run.tag(flow_run=identity)
    address = without_password(url_for(flow_run) or "")  # made of PREFECT_API_URL
    if address:
        run.tag(flow_run_page=address)
        run.link(f"Prefect flow run [{_plain(name)}]({address})")
    else:
        run.link(f"Prefect flow run {code(name)}, `{identity}`")
    added = [f"mlflow {run.name}", *([] if nested else _subjects(run, config))]
    channel.publish_best_effort(
        f"MLflow's run {run.name}", lambda: _show_mlflow_run(run, flow_run.id, added)
    )


def _show_mlflow_run(run: TrackedRun, flow_run: UUID, tags: list[str]) -> None:
    # nested runs share one flow run, whose tags in the context are those that it began with
    with get_client(sync_client=True) as client:
        known = client.read_flow_run(flow_run).tags
        client.update_flow_run(flow_run, tags=list(dict.fromkeys([*known, *tags])))
    about = f"Loop {run.loop.letter}, {run.loop.name}: what was measured, tables and pictures"
    page = _page(run)
    if page:
        create_link_artifact(
            link=f"{page}/#/experiments/{run.archive.tracking.experiment_id}/runs/{run.run_id}",
            link_text=f"MLflow run {run.name}",
            key=ARTIFACT,
            description=about,
        )
    else:
        create_markdown_artifact(
            markdown=f"MLflow run `{run.name}`, id `{run.run_id}`; `threeloops show {run.name}`, "
            "or `threeloops up` for its page",
            key=ARTIFACT,
            description=about,
        )


def _page(run: TrackedRun) -> str:
    """Where MLflow shows the run: on the server that has it, or on the page of `up`; else empty."""
    tracking = run.archive.tracking
    if tracking.remote:
        address = without_password(tracking.address)
        return address.rstrip("/") if is_server(address) else ""
    served = in_use(run.archive.data_dir)
    return served.mlflow if served else ""


def _subjects(run: TrackedRun, config: RunConfig) -> list[str]:
    return [f"loop {run.loop.letter}", f"model {config.model}", f"dataset {config.dataset}"]


def _plain(name: str) -> str:
    """A name that may stand in the text of a link."""
    return "".join(" " if character in "[]()<>`\\" else character for character in name).strip()
