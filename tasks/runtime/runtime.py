"""Everything that one process holds for itself: made at its edge, handed down, never sent."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING

from artifacts.datasets.problems import Datasets
from artifacts.store.data_dir import DataDir, current_data_dir
from artifacts.store.shared.lease import Turn
from artifacts.store.shared.place import store_address
from artifacts.store.tables import Store
from artifacts.tracking.archive import Archive
from artifacts.tracking.named import Named, named
from policy.parallel.place import with_ranks
from tasks.runtime.progress import ProgressHub
from tasks.runtime.side_channel import SideChannel

if TYPE_CHECKING:
    from engines.openai_server.servers import Servers
    from policy.parallel.group import Group
    from schemas.config import Compute, RunConfig
    from tasks.runtime.model_cache import ModelCache
    from tasks.runtime.workers import Workers


class Runtime:
    """What a process keeps and remembers while it works on one data folder.

    `workers` are those that shards are handed to, None where this process samples them itself.
    A worker may have several threads: whoever uses a model holds `model_lock`, for a decoder
    changes the model while it works. `group` are the processes that it learns together with, None
    where it is alone; it is set before anything is computed. `checked` is what the command has
    found in order a moment ago, for the flow that it starts.
    """

    def __init__(self, data_dir: DataDir) -> None:
        self.data_dir = data_dir
        self.made_for = (data_dir, *_named_now()[1:])
        self.archive = Archive(data_dir)
        self.datasets = Datasets(data_dir)
        self.progress = ProgressHub()
        self.side_channel = SideChannel(self.progress.log_message)
        self.turns: dict[str, Turn] = {}  # of the runs that this process goes on with, by id
        self.workers: Workers | None = None
        self.model_lock = threading.RLock()
        self.group: Group | None = None
        self.checked: RunConfig | None = None

    @property
    def store(self) -> Store:
        """The tables of the data folder."""
        return self.archive.store

    @cached_property
    def models(self) -> ModelCache:
        """The models in memory; a process that never asks for them does not import torch."""
        from tasks.runtime.model_cache import ModelCache

        return ModelCache(self.archive.folders, self.group)

    @property
    def ranks(self) -> int:
        """How many processes learn together; 1 where this one is alone."""
        return 1 if self.group is None else self.group.size

    def numerics_of_steps(self, compute: Compute) -> str:
        """What decides the last bits of a step of learning (see `policy.model.numerics`)."""
        from policy.model.numerics import numerics

        return numerics(compute) if self.group is None else with_ranks(self.group.numerics)

    @cached_property
    def servers(self) -> Servers:
        """What is known of the servers that answer in place of a model here."""
        from engines.openai_server.servers import Servers

        return Servers(self.archive.folders)


def _named_now() -> tuple[DataDir, str, Named]:
    """What the environment names: the data folder, the store that it shares, and an MLflow."""
    return current_data_dir(), store_address(), named()


_of_this_process: Runtime | None = None
_making = threading.Lock()  # one runtime for all threads


def process_runtime() -> Runtime:
    """The runtime of this process, for its edges: a command, a flow, a task in a worker.

    It is made at the first call, and anew where the environment names another data folder, another
    store or another MLflow.
    """
    global _of_this_process
    with _making:
        if _of_this_process is None or _of_this_process.made_for != _named_now():
            _of_this_process = Runtime(current_data_dir())
        return _of_this_process
