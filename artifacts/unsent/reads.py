"""MLflow's client for a server that may go away: what it answers, or else what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from mlflow import MlflowClient
from mlflow.entities import Experiment, FileInfo, LoggedModel, Metric, Run, ViewType
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList

from artifacts.store.data_dir import DataDir
from artifacts.unsent.patience import MOST_SECONDS, patient
from artifacts.unsent.servers import Server
from artifacts.unsent.way import Way


class ReadingClient(MlflowClient):
    """MLflow's client, for what threeloops reads."""

    def __init__(self, server: Server, data_dir: DataDir) -> None:
        super().__init__(server.address, server.registry or server.address)
        self._way = Way(server, data_dir)

    @property
    def away(self) -> bool:
        """Whether the server stopped answering this process."""
        return self._way.lost

    def list_artifacts(self, run_id: str, path: str | None = None) -> list[FileInfo]:
        found: list[FileInfo] = self._way.read(lambda: self._way.plain.list_artifacts(run_id, path))
        return found

    def download_artifacts(self, run_id: str, path: str, dst_path: str | None = None) -> str:
        with patient(MOST_SECONDS):
            return str(
                self._way.read(lambda: self._way.plain.download_artifacts(run_id, path, dst_path))
            )

    def get_experiment_by_name(self, name: str) -> Any:
        return self._way.read(lambda: self._way.plain.get_experiment_by_name(name))

    def search_experiments(self, *words: Any, **more: Any) -> PagedList[Experiment]:
        """As MLflow finds them; without the server none."""
        found: PagedList[Experiment] = self._way.read(
            lambda: self._way.plain.search_experiments(*words, **more),
            lambda: PagedList([], None),
        )
        return found

    def get_run(self, run_id: str) -> Run:
        if self.away and run_id in self._way.known.runs:
            return self._way.known.runs[run_id]
        run: Run = self._way.read(
            lambda: self._way.plain.get_run(run_id), lambda: self._way.known.runs[run_id]
        )
        self._way.known.see_runs([run])
        return run

    def search_runs(
        self,
        experiment_ids: list[str],
        filter_string: str = "",
        run_view_type: int = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[Run]:
        """As MLflow finds them; without the server every run that is known, newest first."""
        found: PagedList[Run] = self._way.read(
            lambda: self._way.plain.search_runs(
                experiment_ids, filter_string, run_view_type, max_results, order_by, page_token
            ),
            lambda: PagedList(
                sorted(self._way.known.runs.values(), key=lambda run: -run.info.start_time), None
            ),
        )
        self._way.known.see_runs(found)
        return found

    def search_logged_models(
        self, experiment_ids: list[str], filter_string: str | None = None, *more: Any, **others: Any
    ) -> PagedList[LoggedModel]:
        """As MLflow finds them; without the server every model that is known."""
        found: PagedList[LoggedModel] = self._way.read(
            lambda: self._way.plain.search_logged_models(
                experiment_ids, filter_string, *more, **others
            ),
            lambda: PagedList(list(self._way.known.models.values()), None),
        )
        self._way.known.see_models(found)
        return found

    def search_model_versions(
        self, filter_string: str | None = None, *more: Any, **others: Any
    ) -> PagedList[ModelVersion]:
        """As MLflow finds them; without the server none."""
        found: PagedList[ModelVersion] = self._way.read(
            lambda: self._way.plain.search_model_versions(filter_string, *more, **others),
            lambda: PagedList([], None),
        )
        return found

    def get_registered_model(self, name: str) -> RegisteredModel:
        def unknown() -> NoReturn:
            raise MlflowException("not known without the server")

        found: RegisteredModel = self._way.read(
            lambda: self._way.plain.get_registered_model(name), unknown
        )
        return found

    def get_model_version(self, name: str, version: str) -> ModelVersion:
        return self._version(
            name, version, lambda: self._way.plain.get_model_version(name, version)
        )

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        ask = self._way.plain.get_model_version_by_alias
        return self._version(name, alias, lambda: ask(name, alias))

    def get_metric_history(self, run_id: str, key: str) -> list[Metric]:
        """As MLflow has it; without the server the last value that it told, and what came after."""

        def last() -> list[Metric]:
            run = self._way.known.runs[run_id]
            return [one for one in run.data._metric_objs if one.key == key]

        found: list[Metric] = self._way.read(
            lambda: list(self._way.plain.get_metric_history(run_id, key)), last
        )
        return found

    def _run(self, run_id: str) -> Run:
        """A run of which only what never changes is asked."""
        return self._way.known.runs.get(run_id) or self.get_run(run_id)

    def _version(self, name: str, which: str, ask: Callable[[], ModelVersion]) -> ModelVersion:
        known, place = self._way.known.versions, (name, which)
        found = self._way.read(ask, (lambda: known[place]) if place in known else None)
        known[place] = found
        return found
