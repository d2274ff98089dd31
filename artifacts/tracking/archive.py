"""Everything that one data folder keeps: its tables, policies and MLflow runs."""

from __future__ import annotations

from artifacts.store.data_dir import DataDir
from artifacts.store.policy_folders import PolicyFolders
from artifacts.store.steps import Steps
from artifacts.store.tables import Store
from artifacts.tracking.connection import Tracking
from artifacts.tracking.history import History


class Archive:
    """The store, the policies and the tracking of one data folder."""

    def __init__(self, data_dir: DataDir) -> None:
        self.data_dir = data_dir
        self.store = Store(data_dir)
        self.steps = Steps(self.store)
        self.folders = PolicyFolders(data_dir)
        self.tracking = Tracking(data_dir)
        self.history = History(self.tracking)
