"""Each call that writes to MLflow, made from a record so that making it again changes nothing.

A call whose answer was lost may have been done. Runs, logged models and versions carry an identity
that we gave them, by which they are found; metrics are read back; all else replaces itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from artifacts.unsent.answers import no_answer
from artifacts.unsent.patience import patient, seconds_for
from artifacts.unsent.prompts import register_prompt

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

IDENTITY = "threeloops.identity"  # the tag by which what we made is found again
WAITING = "unsent-"  # begins what stands for the number of a version that is not registered yet
MISSING = "RESOURCE_DOES_NOT_EXIST"  # the code of MLflow's refusal where something is not there
Words = Mapping[str, Any]
Call = Callable[["MlflowClient", Words, bool], Any]


def make(client: MlflowClient, call: str, words: Words, *, again: bool) -> Any:
    """Make a call of this name; returns what MLflow answers.

    `again` says that it may have been made before. Raises MlflowException.
    """
    return CALLS[call](client, words, again)


def _create_run(client: MlflowClient, words: Words, again: bool) -> Any:
    identity, experiment = words["tags"][IDENTITY], words["experiment"]
    if again:
        found = client.search_runs([experiment], f"tags.`{IDENTITY}` = '{identity}'")
        if found:
            return found[0]
    return client.create_run(experiment, words["start"], words["tags"], words["name"])


def _set_tag(client: MlflowClient, words: Words, again: bool) -> None:
    client.set_tag(words["run"], words["key"], words["value"])


def _delete_tag(client: MlflowClient, words: Words, again: bool) -> None:
    """A tag that is not there, since it was deleted on MLflow's page or before, stays so."""
    from mlflow.exceptions import MlflowException

    try:
        client.delete_tag(words["run"], words["key"])
    except MlflowException as error:
        there = client.get_run(words["run"]).data.tags
        if error.error_code != MISSING or words["key"] in there:
            raise


def _update_run(client: MlflowClient, words: Words, again: bool) -> None:
    client.update_run(words["run"], words["status"], words["name"])


def _terminate(client: MlflowClient, words: Words, again: bool) -> None:
    client.set_terminated(words["run"], words["status"], words["end"])


def _log_batch(client: MlflowClient, words: Words, again: bool) -> None:
    from mlflow.entities import Metric, Param

    metrics = [Metric(**one) for one in words["metrics"]]
    if again:
        known = {
            _place(one)
            for key in {metric.key for metric in metrics}
            for one in client.get_metric_history(words["run"], key)
        }
        metrics = [one for one in metrics if _place(one) not in known]
    params = [Param(*one) for one in words["params"]]
    client.log_batch(words["run"], metrics=metrics, params=params)


def gone(client: MlflowClient, words: Words) -> str:
    """What a refused call was for, where that was deleted on MLflow's page: `run`; else empty.

    Raises MlflowException where MLflow does not answer, or has another reason.
    """
    if "id" not in words and words.get("run"):  # a model may be made for a run that is gone
        run = _found(client.get_run, words["run"])
        if run is None or run.info.lifecycle_stage == "deleted":
            return "run"
    models = [words.get("model"), *(words.get("models") or ())]
    named = [one[0] if isinstance(one, list) else one for one in models if one]
    if any(_found(client.get_logged_model, model) is None for model in named):
        return "model"
    if "source" in words and _found(client.get_registered_model, words["name"]) is None:
        return "registered model"
    if version := words.get("version"):
        # what would have registered it may have been for something that is gone
        never = version.startswith(WAITING)
        if never or _found(client.get_model_version, words["name"], version) is None:
            return "version"
    return ""


def _found(ask: Callable[..., Any], *words: str) -> Any:
    """What MLflow answers; None where there is no such thing."""
    from mlflow.exceptions import MlflowException

    try:
        return ask(*words)
    except MlflowException as error:
        if error.error_code != MISSING:
            raise
        return None


def _place(metric: Metric) -> tuple[str, int, int, str]:
    return metric.key, metric.step, metric.timestamp, repr(float(metric.value))


def _log_inputs(client: MlflowClient, words: Words, again: bool) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput

    inputs = client.get_run(words["run"]).inputs if again else None
    read = inputs.dataset_inputs if inputs else ()
    sets = {(one.dataset.name, one.dataset.digest) for one in read}
    used = {one.model_id for one in inputs.model_inputs} if inputs else set()
    datasets = [
        DatasetInput(Dataset(**one["dataset"]), [InputTag(*tag) for tag in one["tags"]])
        for one in words["datasets"]
        if (one["dataset"]["name"], one["dataset"]["digest"]) not in sets
    ]
    models = [LoggedModelInput(one) for one in words["models"] if one not in used]
    if datasets or models:
        client.log_inputs(words["run"], datasets=datasets or None, models=models or None)


def _log_outputs(client: MlflowClient, words: Words, again: bool) -> None:
    from mlflow.entities import LoggedModelOutput

    outputs = client.get_run(words["run"]).outputs if again else None
    made = {one.model_id for one in outputs.model_outputs} if outputs else set()
    models = [LoggedModelOutput(*one) for one in words["models"] if one[0] not in made]
    if models:
        client.log_outputs(words["run"], models)


def _log_artifact(client: MlflowClient, words: Words, again: bool) -> None:
    """A file keeps its name; one that is there already is replaced by the same."""
    with _named(words) as link:
        client.log_artifact(words["run"], str(link), words["folder"])


def _log_model_file(client: MlflowClient, words: Words, again: bool) -> None:
    """As of a run's files."""
    with _named(words) as link:
        client.log_model_artifact(words["model"], str(link), words["folder"])


@contextmanager
def _named(words: Words) -> Iterator[Path]:
    """A file under the name that it is to have; whoever takes it is given time for its size."""
    with TemporaryDirectory() as folder, patient(seconds_for(Path(words["file"]))):
        link = Path(folder) / words["name"]
        link.symlink_to(Path(words["file"]).absolute())
        yield link


def _create_model(client: MlflowClient, words: Words, again: bool) -> Any:
    identity, experiment = words["tags"][IDENTITY], words["experiment"]
    if again:
        found = client.search_logged_models([experiment], f"tags.`{IDENTITY}` = '{identity}'")
        if found:
            return found[0]
    return client.create_logged_model(
        experiment, words["name"], words["run"], words["tags"], words["params"], words["type"]
    )


def _finalize_model(client: MlflowClient, words: Words, again: bool) -> Any:
    return client.finalize_logged_model(words["model"], words["status"])


def _model_tags(client: MlflowClient, words: Words, again: bool) -> None:
    client.set_logged_model_tags(words["model"], words["tags"])


def _register_model(client: MlflowClient, words: Words, again: bool) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.create_registered_model(words["name"], description=words["description"])
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return client.get_registered_model(words["name"])


def _create_version(client: MlflowClient, words: Words, again: bool) -> Any:
    if again:
        for found in client.search_model_versions(f"name='{words['name']}'"):
            if found.tags.get(IDENTITY) == words["tags"][IDENTITY]:
                return found
    return client.create_model_version(
        words["name"],
        source=words["source"],
        run_id=words["run"],
        tags=words["tags"],
        description=words["description"],
        model_id=words["model"],
    )


def _alias(client: MlflowClient, words: Words, again: bool) -> None:
    """An alias means the newest version, so it is not given back to an older one."""
    from mlflow.exceptions import MlflowException

    try:
        held = int(client.get_model_version_by_alias(words["name"], words["alias"]).version)
    except MlflowException as error:
        if no_answer(error):
            raise
        held = 0  # nothing has the alias yet
    if words["version"].isdigit() and held > int(words["version"]):
        return
    client.set_registered_model_alias(words["name"], words["alias"], words["version"])


CALLS: Mapping[str, Call] = {
    "create run": _create_run,
    "set tag": _set_tag,
    "delete tag": _delete_tag,
    "update run": _update_run,
    "end run": _terminate,
    "log metrics and parameters": _log_batch,
    "log inputs": _log_inputs,
    "log outputs": _log_outputs,
    "keep file": _log_artifact,
    "keep model file": _log_model_file,
    "create model": _create_model,
    "finish model": _finalize_model,
    "tag model": _model_tags,
    "create registered model": _register_model,
    "register version": _create_version,
    "set alias": _alias,
    "register prompt": register_prompt,
}
