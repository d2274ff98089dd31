"""Where the weights of a registered version are: in a folder here, or fetched from MLflow once."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from filelock import FileLock

from artifacts.store.policy_folders import PolicyFolders
from artifacts.tracking.archive import Archive
from artifacts.tracking.logged_models import models_cache
from artifacts.unsent.answers import asked
from artifacts.unsent.patience import MOST_SECONDS, patient
from artifacts.unsent.refusals import in_one_line
from policy.files.atomic_folder import atomic_folder, being_written
from policy.model.load import fingerprint_of
from schemas.errors import InputError, StoreError
from schemas.identity import digest_of
from schemas.references import PolicyRef

SHOWN = 16  # characters of a digest in the name of a folder
logger = logging.getLogger(__name__)


class Weights(Protocol):
    """The files of one version."""

    def folder(self) -> Path:
        """Where they are on this machine, fetched if need be."""

    def as_kept(self) -> AbstractContextManager[Path]:
        """The same, as the registry has them at this moment; the folder may last for a block."""


@dataclass(frozen=True)
class LocalWeights:
    """Files in a folder of this machine.

    Where it is not there, the policy of this digest is looked for in the store that `folders`
    share, if they do.
    """

    at: Path
    digest: str = ""
    folders: PolicyFolders | None = None

    def folder(self) -> Path:
        if self.folders is None or not self.digest or self.at.is_dir():
            return self.at
        return self.folders.fetch(self.digest) or self.at

    @contextmanager
    def as_kept(self) -> Iterator[Path]:
        yield self.folder()


@dataclass(frozen=True)
class FetchedWeights:
    """Files that MLflow keeps elsewhere: fetched once, and again where the copy was changed.

    What this data folder's own learning run gave to MLflow is a copy already.
    """

    archive: Archive
    name: str  # `models:/NAME/VERSION`
    source: str
    digest: str

    def folder(self) -> Path:
        if (found := self._given() or self._shared()) is not None:
            return found
        place = self._place()
        with _one_at_a_time(place):
            if not self._is_whole(place):
                self._fetch(place)
        return place

    @contextmanager
    def as_kept(self) -> Iterator[Path]:
        """Fetched anew; beside a copy that is there already, which others may be reading."""
        place = self._place()
        with _one_at_a_time(place):
            if new := not place.exists():
                self._fetch(place)
        if new:
            yield place
            return
        beside = place.with_name(f".{place.name}-{uuid4().hex[:8]}.partial")
        with being_written(beside):
            try:
                self._fill(beside)
                yield beside
            finally:
                shutil.rmtree(beside, ignore_errors=True)

    def _place(self) -> Path:
        unique = digest_of([self.source, self.name, self.digest])[:SHOWN]
        return self.archive.data_dir.mlflow_cache / "versions" / unique

    def _given(self) -> Path | None:
        """Where a learning run of this data folder has left them, if they are as they were."""
        try:
            found = self.archive.folders.find(PolicyRef(name=self.name, digest=self.digest))
        except StoreError:
            return None
        ours = found.parent == models_cache(self.archive.tracking)
        return found if ours and self._is_whole(found) else None

    def _shared(self) -> Path | None:
        """Where they are as the policy of that digest, if the data folders share a store."""
        try:
            return self.archive.folders.fetch(self.digest) if self.digest else None
        except StoreError as fault:  # of one file in the store; MLflow has it too
            logger.warning("warning: %s: %s; MLflow is asked for it", fault.where, fault.what)
            return None

    def _is_whole(self, place: Path) -> bool:
        """Whether the copy is there, with the registered digest where there is one."""
        if not place.is_dir():
            return False
        try:
            return not self.digest or fingerprint_of(self._digests(place)) == self.digest
        except InputError:  # its weights are gone
            return False

    def _digests(self, place: Path) -> dict[str, str]:
        return self.archive.folders.files(place)

    def _fetch(self, place: Path) -> None:
        """Fetch beside the place, then rename: the copy is there whole or not at all."""
        with atomic_folder(place) as partial:
            self._fill(partial)

    def _fill(self, folder: Path) -> None:
        """Fetch into an empty folder."""
        from mlflow.artifacts import download_artifacts

        tracking = self.archive.tracking
        with in_one_line(self.name, "MLflow does not give its files"), patient(MOST_SECONDS):
            tracking.refuse_silence()
            logger.info("fetching %s from MLflow", self.name)
            (arriving := folder / "arriving").mkdir()
            got = asked(
                lambda again: download_artifacts(
                    artifact_uri=self.name,
                    dst_path=str(arriving),
                    tracking_uri=tracking.address,
                    registry_uri=tracking.registry,
                )
            )
            for path in Path(got).iterdir():
                path.rename(folder / path.name)
            shutil.rmtree(arriving)


def _one_at_a_time(place: Path) -> FileLock:
    """A lock that one process of this data folder holds while it fetches into a place."""
    place.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(place.with_name(f".{place.name}.lock"))
