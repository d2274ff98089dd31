"""Events that other flows may be triggered by."""

from __future__ import annotations

from prefect.context import FlowRunContext
from prefect.events import emit_event

from schemas.references import PolicyRef

VERSION_REGISTERED = "threeloops.model-version.registered"


def announce_version(version: PolicyRef, run_id: str) -> None:
    """Tell Prefect that a model version was registered, so that its evaluation can start.

    Outside a flow run there is no server, and nothing is sent.
    """
    if FlowRunContext.get() is None:
        return
    emit_event(
        event=VERSION_REGISTERED,
        resource={
            "prefect.resource.id": f"threeloops.model-version.{version.name}",
            "prefect.resource.name": version.name,
        },
        payload={"model": version.name, "digest": version.digest, "run_id": run_id},
    )
