"""Tiny random models, made once a session, and the real one for tests marked `slow`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from policy.model.embedded import prepare_default
from policy.model.load import Policy, load_policy, resolve_device
from policy.model.tiny import make_tiny_model


@pytest.fixture(scope="module", autouse=True)
def named_devices() -> Iterator[None]:
    """Every test here names its device: `auto` would compute in bfloat16 where there is a GPU.

    It ends with the module: a patch that lasts a session would bind the tests of other rooms.
    """

    def named(device: str) -> torch.device:
        assert device != "auto", "name the device, so that the test is the same on every machine"
        return resolve_device(device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("policy.model.load.resolve_device", named)
        yield


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of the tiny model of an architecture; tests must leave it as it is."""
    root = tmp_path_factory.mktemp("tiny")
    return cache(
        lambda architecture: make_tiny_model(root / architecture, architecture=architecture)
    )


@pytest.fixture(scope="session")
def tiny_policy(tiny_folder: Callable[[str], Path]) -> Callable[[str], Policy]:
    """The tiny model of an architecture, loaded."""
    return cache(
        lambda architecture: load_policy(tiny_folder(architecture), name=architecture, device="cpu")
    )


@pytest.fixture(scope="session")
def default_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the embedded default model, converted once a session."""
    return prepare_default(tmp_path_factory.mktemp("models"), on_progress=lambda _: None)


@pytest.fixture(scope="session")
def default_policy(default_folder: Path) -> Policy:
    """The embedded default model."""
    return load_policy(default_folder, name="default", device="cpu")


@pytest.fixture
def folder(tmp_path: Path, tiny_folder: Callable[[str], Path]) -> Path:
    """A tiny model's folder that a test may change."""
    return Path(shutil.copytree(tiny_folder("llama"), tmp_path / "model"))
