"""A checkpoint's files: what is written comes back, and a damaged one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from policy.learning.checkpoint import read_state, trainable, write_state
from schemas.errors import InputError

WEIGHTS = {"layer.weight": torch.tensor([[1.5, -2.0]]), "bias": torch.tensor([0.25])}
MOMENTS = {"exp_avg/bias": torch.tensor([0.5])}
STATE = {"steps_done": 3, "running_mean": [0.5, 12], "settings": {"kl_weight": 0.01}}


def test_what_is_written_comes_back_exactly(tmp_path: Path) -> None:
    write_state(tmp_path, WEIGHTS, MOMENTS, STATE)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "optimizer.safetensors",
        "state.json",
        "weights.safetensors",
    ]
    weights, moments, state = read_state(tmp_path)
    assert state == STATE
    assert weights.keys() == WEIGHTS.keys()
    assert all(torch.equal(weights[name], value) for name, value in WEIGHTS.items())
    assert torch.equal(moments["exp_avg/bias"], MOMENTS["exp_avg/bias"])


def test_a_view_with_gaps_is_written_as_it_reads(tmp_path: Path) -> None:
    every_other = torch.arange(6.0, requires_grad=True)[::2]
    write_state(tmp_path, {"w": every_other}, {}, STATE)
    assert read_state(tmp_path)[0]["w"].tolist() == [0.0, 2.0, 4.0]


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", [b"", b"{", None])
def test_a_missing_or_damaged_file_names_the_folder(
    damage: bytes | None, file: str, tmp_path: Path
) -> None:
    write_state(tmp_path, WEIGHTS, MOMENTS, STATE)
    (tmp_path / file).unlink()
    if damage is not None:
        (tmp_path / file).write_bytes(damage)
    with pytest.raises(InputError, match="not a readable checkpoint") as caught:
        read_state(tmp_path)
    assert caught.value.where == str(tmp_path)
    assert "\n" not in str(caught.value)


def test_numbers_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_state(tmp_path, WEIGHTS, MOMENTS, {"loss": float("nan")})


def test_tied_and_frozen_parameters_are_left_out() -> None:
    model = nn.ModuleDict({"first": nn.Linear(2, 2), "second": nn.Linear(2, 2)})
    model["second"].weight = model["first"].weight  # tied
    model["second"].bias.requires_grad_(False)
    assert list(trainable(model)) == ["first.weight", "first.bias"]
