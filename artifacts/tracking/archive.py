"""Everything that one data folder keeps: its tables, policies and MLflow runs."""

from __future__ import annotations

from artifacts.store.data_dir import DataDir
from artifacts.store.policy_folders import PolicyFolders
from artifacts.store.shared.owners import Owners
from artifacts.store.shared.place import shared_store, store_address
from artifacts.store.steps import Steps
from artifacts.store.tables import Store
from artifacts.tracking.connection import Tracking
from artifacts.tracking.history import History


class Archive:
    """The store, the policies and the tracking of one data folder.

    `shared` is the store that other data folders use too, None where there is none. `history` are
    the runs of our experiment, `all_history` those of every experiment that the registry serves.
    """

    def __init__(self, data_dir: DataDir) -> None:
        self.data_dir = data_dir
        self.shared = shared_store(store_address())
        self.store = Store(data_dir, self.shared)
        self.steps = Steps(self.store)
        self.folders = PolicyFolders(data_dir, self.shared)
        notes = data_dir.locks / "owners.json"
        self.owners = Owners(self.shared, notes) if self.shared is not None else None
        self.tracking = Tracking(data_dir, self.owners, self.shared)
        self.history = History(self.tracking)
        self.all_history = History(self.tracking, everywhere=True)
