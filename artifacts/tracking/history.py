"""Runs as MLflow recorded them: listed, found by name, and read again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar, cast

from pydantic import JsonValue, ValidationError

from artifacts.tracking.connection import CONFIG_FILE, PARENT, RESULT_FILE, TAG, Tracking
from artifacts.tracking.files import RunFiles, files_of
from artifacts.tracking.formats import upgraded
from artifacts.tracking.sqlite_runs import FoundRun, Wanted
from artifacts.unsent.owned import OWNER
from schemas.config import RunConfig
from schemas.errors import InputError
from schemas.loops import LOOPS, Loop, loop_named
from schemas.references import TableKind
from schemas.results import (
    RESULT_FORMAT,
    DemoResult,
    EvalResult,
    LearningResult,
    LoopResult,
    SelectionResult,
)

C = TypeVar("C", bound=RunConfig)
# tags of the runs of loops and demos, and of the gate's decisions
OURS = (f"{TAG}loop", f"{TAG}candidate")
# tags with the digest of a policy
POLICIES = ("model_digest", "model_digest_before", "model_digest_after")
RUN_ID = re.compile("[0-9a-f]{4,32}")  # or the start of one
ID_LENGTH = 32
EXPERIMENTS = 50_000  # that are looked through: the most that MLflow lists at once

RESULTS: Mapping[str, type[LoopResult] | type[DemoResult]] = {
    "A": EvalResult,
    "B": SelectionResult,
    "C": LearningResult,
    "ABC": DemoResult,
}


@dataclass(frozen=True)
class RunRecord:
    """A run as it was recorded."""

    run_id: str
    name: str
    loop: Loop
    status: str
    started_ms: int
    metrics: Mapping[str, float]
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    find_files: Callable[[], RunFiles] = field(compare=False)  # what few of many runs are asked
    parent: str = ""

    @cached_property
    def files(self) -> RunFiles:
        """Its files."""
        return self.find_files()

    @property
    def folder(self) -> Path:
        """Where its files are on this machine, or copies of those that were written or read."""
        return self.files.path()

    @property
    def stage(self) -> str:
        """`before` or `after` where it is a part of a learning run, else empty."""
        return self.tags.get("stage", "")

    def measured(self, stage: str = "") -> bool:
        """Whether it has every table of a measurement, however it ended.

        A run that failed afterwards, or that was stopped while its report was drawn, has measured.
        """
        suffix = f"_{stage}" if stage else ""
        names = ("problems", f"completions{suffix}", f"scores{suffix}")
        return all(f"table.{name}" in self.tags for name in names)

    def table_refs(self) -> dict[str, tuple[TableKind, str]]:
        """Kind and digest of each of its tables by name."""
        return table_refs(self.tags)

    def config(self, kind: type[C]) -> C:
        """The whole configuration that it was started or last resumed with.

        Raises InputError where it is gone, or of another version that cannot be read any more.
        """
        try:
            return kind.model_validate_json(self.files.read(CONFIG_FILE))
        except (OSError, ValidationError):
            raise InputError(
                "its configuration cannot be read; it is gone, or of another version",
                f"run {self.name}",
                "run it again with the same options",
            ) from None

    def result(self) -> LoopResult | DemoResult | None:
        """The result that its command printed, or None for a run that did not finish.

        Raises InputError for a result that is damaged, or of another version that cannot be read
        any more.
        """
        path = self.files.local(RESULT_FILE)
        if path is None:
            return None
        recorded = upgraded(self._json(path))
        kind = RESULTS.get(str(recorded.get("loop")))
        try:
            if kind is not None and recorded.get("format") == RESULT_FORMAT:
                return kind.model_validate(recorded)
        except ValidationError:
            pass
        raise InputError(
            "its result was recorded by another version of threeloops",
            f"run {self.name}",
            "run it again, or replay its completions with --completions",
        )

    def _json(self, path: Path) -> dict[str, JsonValue]:
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise InputError(
                f"its result is damaged: {path} holds no JSON object",
                f"run {self.name}",
                "run it again, or replay its completions with --completions",
            )
        return content


def table_refs(tags: Mapping[str, str]) -> dict[str, tuple[TableKind, str]]:
    """Kind and digest of each table that these tags of a run name, by the table's name."""
    found = {}
    for tag, value in tags.items():
        if tag.startswith("table."):
            kind, _, digest = value.partition(":")
            found[tag.removeprefix("table.")] = (cast(TableKind, kind), digest)
    return found


class History:
    """Every run that MLflow has in our experiment, read anew at each question.

    With `everywhere`, in any experiment that is there: what is registered is not an experiment's.
    """

    def __init__(self, tracking: Tracking, *, everywhere: bool = False) -> None:
        self.tracking = tracking
        self._everywhere = everywhere

    def loops(self) -> list[RunRecord]:
        """Every run of a loop, newest first.

        A learning run's own measurements before and after are not among them: they are part of it.
        """
        return [run for run in self.every() if run.loop in LOOPS and not run.stage]

    def every(self, *, deleted: bool = False) -> list[RunRecord]:
        """Every run of a loop, before and after included, and every demo; newest first.

        With `deleted`, also those that were deleted on MLflow's page.
        """
        return self._records(self._search(deleted=deleted, tag=f"{TAG}loop"))

    def with_id(self, run_id: str) -> RunRecord | None:
        """The run of a loop or demo that has this whole id, if it is there."""
        found = self._records(self._search(tag=f"{TAG}loop", name=run_id))
        return next((run for run in found if run.run_id == run_id), None)

    def learned(self, *, deleted: bool = False) -> list[RunRecord]:
        """Every learning run that has made a policy, newest first; see `every`."""
        return self._records(self._search(deleted=deleted, tag=f"{TAG}model_digest_after"))

    def loops_with(self, policies: Iterable[str]) -> list[RunRecord]:
        """As `loops`, those that measured, made or started from one of these policies' digests."""
        digests = tuple(policies)
        if (by_sql := self.tracking.by_sql) is None:
            return [run for run in self.loops() if _has_one(run, digests)]
        own = None if self._everywhere else [self.tracking.experiment_id]
        tags = tuple(TAG + tag for tag in POLICIES)
        found = self._records(by_sql.search(Wanted(own, tags=tags, values=digests)))
        return [run for run in found if run.loop in LOOPS and not run.stage]

    def parts_of(self, run_id: str) -> list[RunRecord]:
        """The measurements before and after that a learning run made itself, newest first."""
        return self._tagged(PARENT, run_id)

    def written_by(self, process: str) -> list[RunRecord]:
        """The runs that a process writes or has written, newest first."""
        return self._tagged(OWNER, process)

    def _tagged(self, tag: str, value: str) -> list[RunRecord]:
        if (by_sql := self.tracking.by_sql) is None:
            return self._records(self._asked(False, f"{TAG}loop", f"tags.`{tag}` = '{value}'"))
        own = [self.tracking.experiment_id]
        return self._records(by_sql.search(Wanted(own, tags=(tag,), values=(value,))))

    def _records(self, runs: Iterable[FoundRun]) -> list[RunRecord]:
        return [_record(self.tracking, run) for run in runs if f"{TAG}loop" in run.data.tags]

    def mlflow_runs(
        self, *, deleted: bool = False, tag: str = "", name: str = ""
    ) -> list[FoundRun]:
        """Every MLflow run, newest first: the loops' and the gate's. With `tag`, those with it.

        With `name`, those with this name, id or start of an id.
        """
        return self._search(deleted=deleted, tag=tag, name=name)

    def _search(self, *, deleted: bool = False, tag: str = "", name: str = "") -> list[FoundRun]:
        """The runs with a tag, or with a name, an id or the start of an id."""
        by_sql = self.tracking.by_sql
        if by_sql is not None:
            own = None if self._everywhere else [self.tracking.experiment_id]
            tags = (tag,) if tag else OURS if self._everywhere else ()
            wanted = Wanted(own, deleted, tags, name, also=f"{TAG}identity")
            return list(by_sql.search(wanted))
        if not name:
            return self._asked(deleted, tag)
        for condition in named_so(name):
            if found := self._asked(deleted, tag, condition):
                return found
        return []

    def _asked(self, deleted: bool, tag: str, condition: str = "") -> list[FoundRun]:
        """The runs of an MLflow elsewhere, with a tag if one is named, that meet a condition."""
        from mlflow.entities import ViewType

        view = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
        own = self.tracking.experiment_id
        if not self._everywhere:
            return self._pages(
                [own], _both(f"tags.`{tag}` LIKE '%'" if tag else "", condition), view
            )
        there = self.tracking.client.search_experiments(view_type=view, max_results=EXPERIMENTS)
        ids = list(dict.fromkeys([own, *(str(one.experiment_id) for one in there)]))
        # an experiment of somebody else may have very many runs, of which none is ours
        tags = (tag,) if tag else OURS
        asked = [_both(f"tags.`{one}` LIKE '%'", condition) for one in tags]
        found = [run for one in asked for run in self._pages(ids, one, view)]
        newest_first = sorted(found, key=lambda run: -run.info.start_time)
        return list({run.info.run_id: run for run in newest_first}.values())

    def _pages(self, experiments: list[str], condition: str, view: int) -> list[FoundRun]:
        pages: list[FoundRun] = []
        token = None
        while True:
            page = self.tracking.client.search_runs(
                experiments,
                condition,
                run_view_type=view,
                order_by=["start_time DESC"],
                page_token=token,
                max_results=1000,
            )
            pages += list(page)
            token = page.token
            if not token:
                return pages

    def find(self, name: str) -> RunRecord:
        """The run with this id, start of an id (4 characters or more) or name.

        A name that several runs have means the newest of them. Raises InputError where there is
        none, or where several runs begin with it.
        """
        runs = self._records(self._search(tag=f"{TAG}loop", name=name))
        exact = [run for run in runs if name in (run.run_id, run.name, run.tags.get("identity"))]
        if exact:
            return exact[0]
        partial = [run for run in runs if len(name) >= 4 and run.run_id.startswith(name)]
        if len(partial) == 1:
            return partial[0]
        raise InputError(
            f"{len(partial)} runs begin with it" if partial else "no such run",
            f"run {name}",
            "`threeloops runs` lists them",
        )


def named_so(name: str) -> list[str]:
    """What to ask an MLflow elsewhere for a run by its name, its id or the start of its id.

    The likeliest comes first, and what it finds is enough: MLflow knows no `or`.
    """
    if "'" in name or "\\" in name or not name:
        return []  # no run is called so, and it would end the text that is asked for
    by_name = [f"attributes.run_name = '{name}'", f"tags.`{TAG}identity` = '{name}'"]
    by_id = [f"attributes.run_id LIKE '{name}%'"] if RUN_ID.fullmatch(name) else []
    return [*by_id, *by_name] if len(name) == ID_LENGTH else [*by_name, *by_id]


def _both(one: str, other: str) -> str:
    return " and ".join(filter(None, (one, other)))


def _has_one(run: RunRecord, digests: tuple[str, ...]) -> bool:
    return any(run.tags.get(tag) in digests for tag in POLICIES)


class OurTags(Mapping[str, str]):
    """The tags of a run that are ours, without their prefix."""

    def __init__(self, tags: Mapping[str, str]) -> None:
        self._tags = tags

    def __getitem__(self, name: str) -> str:
        return self._tags[TAG + name]

    def __iter__(self) -> Iterator[str]:
        return (tag.removeprefix(TAG) for tag in self._tags if tag.startswith(TAG))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _record(tracking: Tracking, run: FoundRun) -> RunRecord:
    tags = OurTags(run.data.tags)
    return RunRecord(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        loop=loop_named(tags["loop"]),
        status=run.info.status,
        started_ms=run.info.start_time,
        metrics=run.data.metrics,
        parameters=run.data.params,
        tags=tags,
        find_files=partial(files_of, tracking, run),
        parent=run.data.tags.get(PARENT, ""),
    )
