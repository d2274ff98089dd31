"""The warning names the class of the model and the reason."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from policy.model.load import Policy
from policy.model.slow_path_warning import warn_slow_path


def test_each_call_is_one_warning_of_the_room_policy(
    tiny_policy: Callable[[str], Policy], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="policy"):
        for _ in range(2):
            warn_slow_path(tiny_policy("gemma2").model, "its logits are capped")
    (first, second) = caplog.records
    assert first.getMessage() == second.getMessage()
    assert first.getMessage().startswith("Gemma2ForCausalLM takes the plain path")
    assert first.getMessage().endswith(": its logits are capped")
    assert first.name.startswith("policy.")
