"""The way to an MLflow server that may go away: asked while it answers, done without afterwards.

A server that does not answer for some seconds is not asked again by this process. From then on
writes go to a file, and reads are answered from what this process knows.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from mlflow import MlflowClient

from artifacts.store.data_dir import DataDir
from artifacts.unsent.answers import UnreachableError, asked
from artifacts.unsent.calls import make
from artifacts.unsent.journal import COPIES, Journal, begin_journal, copies_lock, unsent_folder
from artifacts.unsent.known import Known
from artifacts.unsent.owned import owned_by
from artifacts.unsent.refusals import explained, forbids
from artifacts.unsent.servers import Server, without_password
from policy.files.atomic_folder import flush
from schemas.errors import InputError
from schemas.identity import file_digest

T = TypeVar("T")
TO = "mlflow"
logger = logging.getLogger(__name__)


class Way:
    """The way of one process to a server. `plain` is a client whose calls fail without answers."""

    def __init__(self, server: Server, data_dir: DataDir) -> None:
        self.plain = MlflowClient(server.address, server.registry or server.address)
        self.known = Known()
        self._server = server
        self._data_dir = data_dir
        self._journal: Journal | None = None
        self._writes = False

    @property
    def lost(self) -> bool:
        """Whether the server stopped answering this process."""
        return self._journal is not None

    def tell(self, call: str, words: dict[str, Any]) -> Any:
        """Make a call, or keep it; returns MLflow's answer, None where the call was kept."""
        self._writes = True
        answer = None
        if self._journal is None:
            try:
                answer = self._asked(lambda again: make(self.plain, call, words, again=again))
            except UnreachableError as error:
                self._journal = self._go_on_without(error)
        if self._journal is not None:
            if "file" in words:
                words = {**words, "file": self._copied(Path(words["file"]))}
            owner = owned_by(self.known.runs.get(str(words.get("run"))))
            self._journal.keep({"call": call, **words, **owner})
        self.known.write(call, words)
        return answer

    def read(self, ask: Callable[[], T], known: Callable[[], T] | None = None) -> T:
        """MLflow's answer, or else what is known; UnreachableError where nothing is.

        Only work that writes goes on with what is known: a command that lists or compares runs
        must not take a part for the whole.
        """
        known = known if self._writes else None
        if self._journal is None:
            try:
                return self._asked(lambda again: ask())
            except UnreachableError as error:
                if known is None:
                    raise self._unreachable(error) from error
                self._journal = self._go_on_without(error)
        if known is None:
            raise self._unreachable(UnreachableError("MLflow does not answer"))
        return known()

    def _asked(self, call: Callable[[bool], T]) -> T:
        """As `asked`; InputError where the server does not allow the call."""
        try:
            return asked(call)
        except UnreachableError:
            raise
        except Exception as error:  # MLflow has one class for everything
            if not forbids(error):
                raise
            what, remedy = explained(error)
            raise InputError(what, self._server.shown, remedy) from error

    def _go_on_without(self, error: UnreachableError) -> Journal:
        address = without_password(self._server.address)
        journal = begin_journal(self._data_dir, TO, address, self._server.identity)
        logger.warning(
            "%s at %s; the work goes on, what MLflow was not told is kept in %s, and the next "
            "command or `threeloops sync` sends it",
            error,
            self._server.shown,
            journal.path,
        )
        return journal

    def _unreachable(self, error: UnreachableError) -> UnreachableError:
        return UnreachableError(error.what, self._server.shown, "start it, and run this again")

    def _copied(self, path: Path) -> str:
        """A copy of a file by its digest, which lasts until it was sent."""
        copy = unsent_folder(self._data_dir) / COPIES / file_digest(path)
        with copies_lock(self._data_dir):
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not copy.exists():
                part = copy.with_name(f"{copy.name}.{uuid4().hex[:8]}.part")
                shutil.copyfile(path, part)
                part.chmod(0o600)
                flush(part)
                part.replace(copy)
                flush(copy.parent)
        return str(copy.relative_to(self._data_dir.root))
