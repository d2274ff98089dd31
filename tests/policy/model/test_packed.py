"""Packed weights and faster layers give the numbers of the modules that they stand in for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from policy.model import packed as packed_weights
from policy.model.fused import faster_forward
from policy.model.load import Policy, load_policy
from policy.model.packed import PackedLinears, can_pack, packing, weights_changed
from policy.model.precision import arithmetic_of, compute_in, computing
from policy.model.tiny import ARCHITECTURES

IDS = torch.tensor([[5, 6, 7, 8, 3, 4]])
needs_packing = pytest.mark.skipif(not can_pack(), reason="this build of torch packs no weights")


def logits_and_gradients(model: Any) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad(set_to_none=True)
    logits = model(IDS, use_cache=False).logits
    weights = torch.linspace(-1, 1, logits.numel()).view(logits.shape)
    (logits * weights).sum().backward()
    found = {name: one.grad.clone() for name, one in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    return logits.detach(), found


@needs_packing
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_float32_gives_the_numbers_and_gradients_of_the_modules(
    architecture: str, tiny_policy: Callable[[str], Policy]
) -> None:
    model: Any = tiny_policy(architecture).model
    expected, their = logits_and_gradients(model)
    with packing(model, PackedLinears(), torch.float32):
        got, mine = logits_and_gradients(model)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    for name, gradient in their.items():
        limit = 1e-4 * max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(mine[name], gradient, rtol=1e-3, atol=limit, msg=name)


@needs_packing
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_modules_are_as_before_afterwards(
    architecture: str, tiny_policy: Callable[[str], Policy]
) -> None:
    model: Any = tiny_policy(architecture).model

    def own_forwards() -> list[str]:
        return [name for name, module in model.named_modules() if "forward" in vars(module)]

    before = own_forwards()
    with suppress(ZeroDivisionError), packing(model, PackedLinears(), torch.float32):
        assert len(own_forwards()) > len(before)
        raise ZeroDivisionError
    assert own_forwards() == before


@needs_packing
@pytest.mark.parametrize(
    "change",
    ["in place", "behind torch's back", "fused optimiser", "another tensor", "another type"],
)
def test_changed_weights_are_packed_again(change: str, tiny_folder: Callable[[str], Path]) -> None:
    model: Any = load_policy(tiny_folder("llama"), name="tiny", device="cpu").model
    compute_in(model, torch.float32)
    kept = arithmetic_of(model).packed

    def logits() -> Tensor:
        with torch.no_grad(), computing(model):
            return torch.as_tensor(model(IDS, use_cache=False).logits)

    before = logits()
    names = {name: id(one) for name, one in kept.kept.items()}
    assert torch.equal(logits(), before)
    assert {name: id(one) for name, one in kept.kept.items()} == names, "unchanged ones are kept"
    layer = model.model.layers[0].mlp.up_proj
    if change == "in place":
        with torch.no_grad():
            layer.weight.add_(0.5)
    elif change == "behind torch's back":
        layer.weight.data.add_(0.5)
    elif change == "fused optimiser":
        optimiser = torch.optim.AdamW(model.parameters(), lr=0.5, fused=True)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimiser.step()
    elif change == "another tensor":
        layer.weight = nn.Parameter(layer.weight.detach() + 0.5)
    else:
        arithmetic_of(model).dtype = torch.bfloat16
    now = logits()
    assert not torch.equal(now, before)
    with torch.no_grad():
        plain = model(IDS, use_cache=False).logits
    coarse = arithmetic_of(model).dtype != torch.float32
    torch.testing.assert_close(now, plain, rtol=0.05, atol=0.3 if coarse else 1e-3)


@needs_packing
def test_an_update_that_leaves_a_column_alone_is_seen(tiny_folder: Callable[[str], Path]) -> None:
    """A column learns nothing where its input is 0, and there is no weight decay by default."""
    model: Any = load_policy(tiny_folder("llama"), name="tiny", device="cpu").model
    layer = model.model.layers[0].mlp.up_proj
    kept = arithmetic_of(model).packed

    def logits() -> Tensor:
        with torch.no_grad(), computing(model):
            return torch.as_tensor(model(IDS, use_cache=False).logits)

    before = logits()
    assert kept.kept
    optimiser = torch.optim.AdamW([layer.weight], lr=0.5, weight_decay=0, fused=True)
    layer.weight.grad = torch.ones_like(layer.weight)
    layer.weight.grad[:, 0] = 0
    optimiser.step()
    weights_changed([layer.weight])
    assert not torch.equal(logits(), before)


@needs_packing
def test_a_model_too_large_for_copies_has_none(
    tiny_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = load_policy(tiny_folder("llama"), name="tiny", device="cpu").model
    monkeypatch.setattr(packed_weights, "memory_bytes", lambda model: 1_000_000)
    with torch.no_grad(), computing(model):
        model(IDS, use_cache=False)
    assert not arithmetic_of(model).packed.kept


@needs_packing
def test_a_copied_model_does_not_share_packed_weights(tiny_folder: Callable[[str], Path]) -> None:
    model: Any = load_policy(tiny_folder("llama"), name="tiny", device="cpu").model
    with torch.no_grad(), computing(model):
        model(IDS, use_cache=False)
    assert arithmetic_of(model).packed.kept
    copied = copy.deepcopy(model)
    assert not arithmetic_of(copied).packed.kept
    assert arithmetic_of(copied).dtype == arithmetic_of(model).dtype


@needs_packing
def test_no_rows_give_no_rows() -> None:
    layer = nn.Linear(8, 4)
    model = nn.ModuleList([layer])
    model.device = torch.device("cpu")  # type: ignore[assignment]
    with torch.no_grad(), packing(model, PackedLinears(), torch.float32):  # type: ignore[arg-type]
        assert layer(torch.ones(0, 8)).shape == (0, 4)
        assert layer(torch.ones(2, 3, 8)).shape == (2, 3, 4)


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_without_packing_a_model_computes_as_it_is(
    architecture: str, tiny_policy: Callable[[str], Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_weights, "can_pack", lambda: False)
    model: Any = tiny_policy(architecture).model
    with torch.no_grad():
        expected = model(IDS, use_cache=False).logits
        with computing(model):
            assert torch.equal(model(IDS, use_cache=False).logits, expected)


class ShiftedRMSNorm(nn.Module):
    """As Gemma's: multiplies by 1 + weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((16,), 0.5))
        self.eps = 1e-6

    def forward(self, rows: Tensor) -> Tensor:
        scale = torch.rsqrt(rows.pow(2).mean(-1, keepdim=True) + self.eps)
        return rows * scale * (1 + self.weight)


def test_a_norm_that_computes_something_else_is_left_alone() -> None:
    assert faster_forward(ShiftedRMSNorm(), torch.float32) is None


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "mistral"])
def test_norms_and_gates_of_these_models_are_taken_over(
    architecture: str, tiny_policy: Callable[[str], Policy]
) -> None:
    model: Any = tiny_policy(architecture).model
    layer = model.model.layers[0]
    assert faster_forward(layer.input_layernorm, torch.float32) is not None
    assert faster_forward(layer.mlp, torch.float32) is not None
    assert faster_forward(layer.self_attn, torch.float32) is None


def test_in_bfloat16_norms_give_bfloat16_and_the_last_one_float32(
    tiny_folder: Callable[[str], Path],
) -> None:
    model: Any = load_policy(tiny_folder("llama"), name="tiny", device="cpu").model
    compute_in(model, torch.bfloat16)
    seen: dict[str, torch.dtype] = {}
    for name in ("layers.0.input_layernorm", "layers.1.post_attention_layernorm", "norm"):
        module = model.model.get_submodule(name)
        module.register_forward_hook(
            lambda module, given, found, name=name: seen.update({name: found.dtype})
        )
    with torch.no_grad(), computing(model):
        model(IDS, use_cache=False)
    assert seen.pop("norm") == torch.float32
    assert set(seen.values()) == {torch.bfloat16 if can_pack() else torch.float32}
