"""MLflow's client for a server that may go away, with the calls that threeloops makes.

Files of runs in the data folder are written without the server.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse
from uuid import uuid4

from mlflow.entities import LoggedModel, LoggedModelStatus, Metric, Param, Run
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from artifacts.store.data_dir import DataDir
from artifacts.unsent.calls import IDENTITY, WAITING
from artifacts.unsent.known import model_to_be, run_to_be, version_to_be
from artifacts.unsent.reads import ReadingClient
from artifacts.unsent.servers import Server


class KeepingClient(ReadingClient):
    """MLflow's client, for the calls that threeloops makes: what it writes is told or kept."""

    def __init__(self, server: Server, data_dir: DataDir, artifacts: str = "") -> None:
        """`artifacts` is where the experiment's files are, if not in the data folder."""
        super().__init__(server, data_dir)
        self._data_dir = data_dir
        self._artifacts = artifacts or data_dir.run_artifacts.as_uri()
        self._own_registry = server.registry in ("", server.address)

    def create_run(
        self,
        experiment_id: str,
        start_time: int | None = None,
        tags: dict[str, Any] | None = None,
        run_name: str | None = None,
    ) -> Run:
        identity = uuid4().hex
        words = {
            "id": identity,
            "experiment": experiment_id,
            "start": start_time or _now_ms(),
            "tags": {**(tags or {}), IDENTITY: identity},
            "name": run_name,
        }
        run: Run = self._way.tell("create run", words) or run_to_be(words, self._artifacts)
        self._way.known.see_runs([run])
        return run

    def set_tag(self, run_id: str, key: str, value: Any, synchronous: bool | None = None) -> None:
        self._way.tell("set tag", {"run": run_id, "key": key, "value": str(value)})

    def delete_tag(self, run_id: str, key: str) -> None:
        self._way.tell("delete tag", {"run": run_id, "key": key})

    def update_run(self, run_id: str, status: str | None = None, name: str | None = None) -> None:
        self._way.tell("update run", {"run": run_id, "status": status, "name": name})

    def set_terminated(
        self, run_id: str, status: str | None = None, end_time: int | None = None
    ) -> None:
        end = end_time or _now_ms()
        self._way.tell("end run", {"run": run_id, "status": status or "FINISHED", "end": end})

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[Any] = (),
        synchronous: bool | None = None,
    ) -> None:
        assert not tags  # they are set one by one
        words = {
            "run": run_id,
            "metrics": [_metric(one) for one in metrics],
            "params": [[one.key, one.value] for one in params],
        }
        self._way.tell("log metrics and parameters", words)

    def log_inputs(self, run_id: str, datasets: Any = None, models: Any = None) -> None:
        sets = [
            {
                "dataset": dict(one.dataset),
                "tags": [[tag.key, tag.value] for tag in one.tags],
            }
            for one in datasets or ()
        ]
        used = [one.model_id for one in models or ()]
        self._way.tell("log inputs", {"run": run_id, "datasets": sets, "models": used})

    def log_outputs(self, run_id: str, models: Any) -> None:
        made = [[one.model_id, one.step] for one in models]
        self._way.tell("log outputs", {"run": run_id, "models": made})

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        folder = self._run(run_id).info.artifact_uri
        if self._is_ours(folder):
            here = LocalArtifactRepository(folder)
            here.log_artifact(local_path, artifact_path)  # type: ignore[no-untyped-call]
            return
        words = {"run": run_id, "name": Path(local_path).name, "folder": artifact_path}
        self._way.tell("keep file", {**words, "file": local_path})

    def _is_ours(self, uri: str) -> bool:
        """Whether it lies in the data folder, where `take_name` finds what has another id later."""
        parts = urlparse(uri)
        below = Path(unquote(parts.path)).is_relative_to(self._data_dir.run_artifacts)
        return parts.scheme in ("", "file") and below

    def log_model_artifacts(
        self, model_id: str, local_dir: str, artifact_path: str | None = None
    ) -> None:
        """Give every file of a folder to the server, one by one, or keep a copy of it."""
        above = Path(local_dir)
        for path in sorted(one for one in above.rglob("*") if one.is_file()):
            folder = (Path(artifact_path or "") / path.relative_to(above)).parent
            words = {"model": model_id, "name": path.name, "folder": _folder(folder)}
            self._way.tell("keep model file", {**words, "file": str(path)})

    def create_logged_model(
        self,
        experiment_id: str,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
        model_type: str | None = None,
    ) -> LoggedModel:
        identity = f"m-{uuid4().hex}"
        words = {
            "id": identity,
            "experiment": experiment_id,
            "name": name,
            "run": source_run_id,
            "tags": {**(tags or {}), IDENTITY: identity},
            "params": params,
            "type": model_type,
        }
        made = self._way.tell("create model", words)
        model: LoggedModel = made or model_to_be(words, self._artifacts, _now_ms())
        self._way.known.see_models([model])
        return model

    def finalize_logged_model(self, model_id: str, status: Any) -> Any:
        word = status.value if isinstance(status, LoggedModelStatus) else status
        self._way.tell("finish model", {"model": model_id, "status": word})

    def set_logged_model_tags(self, model_id: str, tags: dict[str, Any]) -> None:
        self._way.tell("tag model", {"model": model_id, "tags": tags})

    def create_registered_model(
        self,
        name: str,
        tags: Any = None,
        description: str | None = None,
        deployment_job_id: str | None = None,
    ) -> RegisteredModel:
        words = {"name": name, "description": description}
        made: RegisteredModel = self._way.tell("create registered model", words)
        return made or RegisteredModel(name)

    def create_model_version(
        self,
        name: str,
        source: str,
        run_id: str | None = None,
        tags: dict[str, Any] | None = None,
        run_link: str | None = None,
        description: str | None = None,
        await_creation_for: int = 0,
        model_id: str | None = None,
    ) -> ModelVersion:
        identity = f"{WAITING}{uuid4().hex[:12]}"
        words = {
            "id": identity,
            "name": name,
            "source": source,
            "run": run_id,
            "tags": {**(tags or {}), IDENTITY: identity},
            "description": description,
            # a server takes files from its own folders alone, and asks which model's they are
            "model": model_id if self._own_registry else None,
        }
        version: ModelVersion = self._way.tell("register version", words)
        return version or version_to_be(words, _now_ms())

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self._way.tell("set alias", {"name": name, "alias": alias, "version": str(version)})

    def register_template(self, words: dict[str, Any]) -> None:
        """Register a prompt template for a run, as `artifacts.unsent.prompts` says."""
        self._way.tell("register prompt", words)

    def set_model_version_tag(
        self,
        name: str,
        version: str | None = None,
        key: str | None = None,
        value: Any = None,
        stage: str | None = None,
    ) -> None:
        self._way.read(lambda: self._way.plain.set_model_version_tag(name, version, key, value))

    def make_champion(self, name: str, alias: str, version: str) -> None:
        """Give an alias now or not at all: what others rely on must not come later."""
        self._way.read(lambda: self._way.plain.set_registered_model_alias(name, alias, version))


def _folder(path: Path) -> str | None:
    return path.as_posix() if path.parts else None


def _metric(metric: Metric) -> dict[str, Any]:
    of = {
        "model_id": metric.model_id,
        "dataset_name": metric.dataset_name,
        "dataset_digest": metric.dataset_digest,
    }
    return {
        "key": metric.key,
        "value": metric.value,
        "timestamp": metric.timestamp,
        "step": metric.step,
        **of,
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
