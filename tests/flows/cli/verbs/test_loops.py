"""What a verb that runs a loop does before its flow begins."""

from __future__ import annotations

import pytest

from artifacts.store.data_dir import DataDir
from flows.cli.terminal import Terminal
from flows.cli.verbs import loops as module
from schemas.config import EvalConfig
from schemas.errors import InputError
from schemas.loops import EVALUATION
from tasks.runtime.runtime import Runtime


def test_prefects_settings_stand_before_a_check_of_workers_imports_it(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def check(runtime: Runtime, config: EvalConfig) -> None:
        done.append("checked")
        raise InputError("nobody answers there")

    monkeypatch.setattr(module, "configure_prefect", lambda data_dir: done.append("set"))
    monkeypatch.setattr("flows.preflight.check_names", check)
    with pytest.raises(InputError, match="^nobody answers there$"):
        module.prepare(Runtime(data_dir), Terminal(as_json=True), EvalConfig(), EVALUATION)
    assert done == ["set", "checked"]
