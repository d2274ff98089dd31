"""Loop B, selection: sample N completions a problem and pick one; the model stays as it is."""

from __future__ import annotations

from artifacts.recording.measured_rows import MeasuredRows
from artifacts.recording.record import record_measurement, record_selection
from artifacts.tracking.inputs import dataset_name
from artifacts.tracking.run import Place
from flows.eval import measure, policy_to_sample
from flows.orchestration.links import recorded_run
from flows.orchestration.page import publish_result
from flows.orchestration.pipeline_flow import pipeline_flow
from flows.preflight import preflight
from schemas.config import SelectionConfig
from schemas.loops import SELECTION
from schemas.results import SelectionResult
from tasks.runtime.runtime import process_runtime
from tasks.select import select


@pipeline_flow(name="selection", flow_run_name="select 1 of {config.samples} by {config.model}")
def selection_flow(config: SelectionConfig, parent_run: str = "") -> SelectionResult:
    """Loop B: pass@1, pass@k for every k up to N, and the pass rate of what each rule picks.

    Args:
        config: which model, on which problems, how many samples, picked by which rules
        parent_run: the id of the MLflow run that this one is a part of
    """
    runtime = process_runtime()
    config = preflight(runtime, config)
    with recorded_run(runtime, SELECTION, config, Place(parent=parent_run)) as run:
        policy = policy_to_sample(runtime, config, run)
        rows = MeasuredRows.read(runtime.store, measure(runtime, config, policy))
        selection = select(rows.measured, config.pick, config.seed)
        record_measurement(run, rows, dataset_name(config, runtime.archive.history))
        result = record_selection(run, config, rows, selection)
    publish_result(runtime.side_channel, result)
    return result
