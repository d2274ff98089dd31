"""What a process knows of MLflow's runs and models: what it was answered, and what it wrote since.

It answers for a server that does not, about what this process works on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

Words = Mapping[str, Any]


@dataclass
class Known:
    """Entities of MLflow by their ids; `versions` by name, and by alias or number."""

    runs: dict[str, Run] = field(default_factory=dict)
    models: dict[str, LoggedModel] = field(default_factory=dict)
    versions: dict[tuple[str, str], ModelVersion] = field(default_factory=dict)

    def see_runs(self, runs: Iterable[Run]) -> None:
        """Remember runs as MLflow told them."""
        self.runs |= {run.info.run_id: run for run in runs}

    def see_models(self, models: Iterable[LoggedModel]) -> None:
        """Remember logged models as MLflow told them."""
        self.models |= {model.model_id: model for model in models}

    def write(self, call: str, words: Words) -> None:
        """A call was made or kept; it shows from now on."""
        if act := ACTS.get(call):
            act(self, words)


def run_to_be(words: Words, artifacts: str) -> Run:
    """A run that MLflow has not been told of, under the id that we gave it."""
    from mlflow.entities import Run, RunData, RunInfo, RunTag

    info = RunInfo(
        run_id=words["id"],
        experiment_id=words["experiment"],
        user_id="",
        status="RUNNING",
        start_time=words["start"],
        end_time=None,
        lifecycle_stage="active",
        artifact_uri=f"{artifacts}/{words['id']}/artifacts",
        run_name=words["name"],
    )
    return Run(info, RunData(tags=[RunTag(*tag) for tag in words["tags"].items()]))


def model_to_be(words: Words, artifacts: str, now_ms: int) -> LoggedModel:
    """A logged model that MLflow has not been told of, under the id that we gave it."""
    from mlflow.entities import LoggedModel, LoggedModelStatus

    return LoggedModel(
        experiment_id=words["experiment"],
        model_id=words["id"],
        name=words["name"],
        artifact_location=f"{artifacts}/models/{words['id']}/artifacts",
        creation_timestamp=now_ms,
        last_updated_timestamp=now_ms,
        model_type=words["type"],
        source_run_id=words["run"],
        status=LoggedModelStatus.PENDING,
        tags=dict(words["tags"]),
        params=dict(words["params"] or {}),
    )


def version_to_be(words: Words, now_ms: int) -> ModelVersion:
    """A version that the registry has not been told of; its number is a name that we gave it."""
    from mlflow.entities.model_registry import ModelVersion, ModelVersionTag

    return ModelVersion(
        words["name"],
        words["id"],
        now_ms,
        source=words["source"],
        run_id=words["run"],
        tags=[
            ModelVersionTag(*tag)  # type: ignore[no-untyped-call]
            for tag in words["tags"].items()
        ],
    )


def _set_tag(known: Known, words: Words) -> None:
    if run := known.runs.get(words["run"]):
        run.data.tags[words["key"]] = words["value"]


def _delete_tag(known: Known, words: Words) -> None:
    if run := known.runs.get(words["run"]):
        run.data.tags.pop(words["key"], None)


def _update_run(known: Known, words: Words) -> None:
    if run := known.runs.get(words["run"]):
        run.info._status = words["status"] or run.info.status
        run.info._run_name = words["name"] or run.info.run_name
        if words["name"]:
            run.data.tags["mlflow.runName"] = words["name"]


def _terminate(known: Known, words: Words) -> None:
    if run := known.runs.get(words["run"]):
        run.info._status = words["status"]
        run.info._end_time = words["end"]


def _log_batch(known: Known, words: Words) -> None:
    from mlflow.entities import Metric

    if run := known.runs.get(words["run"]):
        run.data.metrics.update({one["key"]: one["value"] for one in words["metrics"]})
        run.data._metric_objs.extend(Metric(**one) for one in words["metrics"])
        run.data.params.update(dict(words["params"]))


def _log_inputs(known: Known, words: Words) -> None:
    from mlflow.entities import LoggedModelInput, RunInputs

    if run := known.runs.get(words["run"]):
        before = run.inputs or RunInputs([], [])
        models = [*before.model_inputs, *map(LoggedModelInput, words["models"])]
        run._inputs = RunInputs(before.dataset_inputs, models)


def _log_outputs(known: Known, words: Words) -> None:
    from mlflow.entities import LoggedModelOutput, RunOutputs

    if run := known.runs.get(words["run"]):
        before = run.outputs.model_outputs if run.outputs else []
        run._outputs = RunOutputs([*before, *(LoggedModelOutput(*one) for one in words["models"])])


def _model_tags(known: Known, words: Words) -> None:
    if model := known.models.get(words["model"]):
        model._tags = {**model.tags, **words["tags"]}


ACTS: Mapping[str, Callable[[Known, Words], None]] = {
    "set tag": _set_tag,
    "delete tag": _delete_tag,
    "update run": _update_run,
    "end run": _terminate,
    "log metrics and parameters": _log_batch,
    "log inputs": _log_inputs,
    "log outputs": _log_outputs,
    "tag model": _model_tags,
}
