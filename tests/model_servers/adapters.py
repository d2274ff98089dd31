"""A model server that loads adapters as peft does, from the files that it is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from policy.model.load import Policy, load_policy
from tests.model_servers.answers import by_policies
from tests.model_servers.server import ModelServer


class AdapterModels:
    """The tiny model, and what it becomes with each adapter, by name.

    `stale` is what a faulty server does: whatever it loads from the second adapter on, it goes on
    with the first.
    """

    def __init__(self, folder: str, *, stale: bool = False) -> None:
        self.folder = Path(folder)
        self.base = self._fresh()
        self.by_name: dict[str, Policy] = {}
        self.stale = stale
        self._first: Policy | None = None

    def load(self, name: str, path: str) -> None:
        """Load an adapter from its files into a model of its own."""
        import peft

        policy = self._fresh()
        model: Any = policy.model
        merged = peft.PeftModel.from_pretrained(model, path).merge_and_unload()
        loaded = replace(policy, model=merged.eval())
        self._first = self._first or loaded
        self.by_name[name] = self._first if self.stale else loaded

    def unload(self, name: str) -> None:
        """Forget an adapter."""
        del self.by_name[name]

    def of(self, name: str) -> Policy:
        """The policy that a name means."""
        return self.by_name.get(name, self.base)

    def server(self, model: str = "tiny") -> ModelServer:
        """A server that has them, with this name for the model itself."""
        made = by_policies(self.of)
        root = str(self.folder)
        return ModelServer(made, model=model, root=root, load=self.load, unload=self.unload)

    def _fresh(self) -> Policy:
        return load_policy(self.folder, name="tiny", device="cpu")
