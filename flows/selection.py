"""Loop B, selection: sample N answers a problem and pick one by a rule; the model stays as it is.

What changes is which output is used, so a gain here is a gain by search, never by learning.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from artifacts.recording.record import record_measurement, record_selection
from artifacts.tracking.inputs import dataset_name
from flows.eval import measure
from flows.orchestration.links import recorded_run
from flows.orchestration.page import publish_result
from flows.preflight import preflight
from schemas.config import SelectionConfig
from schemas.loops import SELECTION
from tasks.select import select


@flow(name="selection", flow_run_name="select 1 of {config.samples} by {config.model}")
def selection_flow(config: SelectionConfig) -> dict[str, Any]:
    """Loop B: pass@1, pass@k for every k up to N, and the pass rate of what each rule picks.

    Args:
        config: which model, on which problems, how many samples, picked by which rules
    """
    preflight(config)
    with recorded_run(SELECTION, config) as run:
        measured = measure(config)
        selection = select(measured, config.pick, config.seed)
        record_measurement(run, measured, dataset_name(config))
        result = record_selection(run, config, measured, selection)
    return publish_result(result)
