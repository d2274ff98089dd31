"""Loop A, evaluation: measure a policy, or stored completions, and change nothing."""

from __future__ import annotations

from artifacts.recording.measured_rows import MeasuredRows
from artifacts.recording.record import name_policy, record_evaluation, record_measurement
from artifacts.registry.resolve import resolve_policy
from artifacts.tracking.inputs import dataset_name
from artifacts.tracking.run import Place, TrackedRun
from flows.orchestration.links import recorded_run
from flows.orchestration.page import publish_result
from flows.orchestration.pipeline_flow import pipeline_flow
from flows.orchestration.task_runners import on_workers
from flows.pass_rate_so_far import PassRateSoFar
from flows.preflight import preflight
from schemas.config import EvalConfig
from schemas.files import source_of
from schemas.imported import Part
from schemas.loops import EVALUATION
from schemas.measurements import Measurement
from schemas.references import PolicyRef
from schemas.results import EvalResult
from tasks.aggregate import aggregate
from tasks.load_completions import load_completions
from tasks.load_dataset import load_dataset
from tasks.runtime.runtime import Runtime, process_runtime
from tasks.score import score


@pipeline_flow(name="eval", flow_run_name="eval {config.model} on {config.dataset} {config.split}")
def eval_flow(config: EvalConfig, parent_run: str = "") -> EvalResult:
    """Loop A: the pass rate with its interval, and why completions fail.

    Args:
        config: which model, on which problems, through which scorer
        parent_run: the id of the MLflow run that this one is a part of
    """
    runtime = process_runtime()
    config = preflight(runtime, config)
    with recorded_run(runtime, EVALUATION, config, Place(parent=parent_run)) as run:
        policy = policy_to_sample(runtime, config, run)
        rows = MeasuredRows.read(runtime.store, measure(runtime, config, policy))
        record_measurement(run, rows, dataset_name(config, runtime.archive.history))
        result = record_evaluation(run, config, rows)
    publish_result(runtime.side_channel, result)
    return result


def policy_to_sample(runtime: Runtime, config: EvalConfig, run: TrackedRun) -> PolicyRef | None:
    """The policy that a run will sample, named in the run before it does.

    None where stored completions are scored again. A run that is cut off has then said what it
    looked at.
    """
    if config.completions is not None:
        return None
    if config.server is not None:
        policy = runtime.servers.known_policy(config.model, config.generation())
    else:
        policy = resolve_policy(runtime.archive, config.model, runtime.progress.log_message)
    name_policy(run, policy)
    return policy


def measure(
    runtime: Runtime, config: EvalConfig, policy: PolicyRef | None, *, computed_by: str = ""
) -> Measurement:
    """Generate or load completions, score them and aggregate the scores; part of every loop.

    `policy` is None for stored completions alone. With `computed_by`, numerics other than those of
    this process, completions are only looked for; StoreError where there are none.
    """
    if policy is None:
        assert config.completions is not None
        return replay(config, config.completions)
    from tasks.generate import generate  # imports torch, which a replay does not need

    problems = load_dataset(config.dataset, config.split, config.limit, config.columns)
    settings = config.generation().model_copy(update={"computed_by": computed_by})
    with (
        on_workers(runtime, config.task_runner, policy, config.device),
        runtime.progress.listening(PassRateSoFar(runtime, config.scorer)),
    ):
        completions = generate(problems, policy, settings, label=f"{config.split}: {policy.name}")
    scores = score(problems, completions, config.scorer)
    return aggregate(problems, completions, scores, policy)


def replay(config: EvalConfig, source: str) -> Measurement:
    """Score and aggregate stored completions; no model is loaded."""
    asked = None
    if source_of(source) == "answers":
        asked = load_dataset(config.dataset, config.split, columns=config.columns)
    problems, completions = load_completions(source, asked, Part.of(config))
    scores = score(problems, completions, config.scorer)
    return aggregate(problems, completions, scores)
