"""Weights, gradients and moments split over the processes of a group, for models that do not fit.

FSDP2 (`torch.distributed.fsdp.fully_shard`) keeps a share of each weight in each process, and puts
a layer together while it is used. Each pass through the model is one of all processes, so all must
make equally many. While a process samples it has the whole weights, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from policy.parallel.group import Group


def shard_weights(model: PreTrainedModel, group: Group) -> None:
    """Keep only this process's share of the model's weights, in place; all processes do it at once.

    Each decoder layer is put together by itself, and what is left with the model as a whole.
    """
    device = model.device
    mesh = init_device_mesh(device.type, (group.size,))
    layers = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
    for part in (*layers, model):
        fully_shard(part, mesh=mesh, reshard_after_forward=True)
    for sharded in _parts(model):
        # the shares of a loss add up; they are no mean over processes
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)


def is_sharded(model: nn.Module) -> bool:
    """Whether a process has only its share of this model's weights."""
    return isinstance(model, FSDPModule)


@contextmanager
def whole_weights(model: nn.Module) -> Iterator[None]:
    """Within the block, this process has all weights; for all processes at once.

    In it each may run the model as often as it likes, without gradient. A model that is not sharded
    is left alone.
    """
    parts = _parts(model)
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


def drop_whole_weights(model: nn.Module) -> None:
    """Drop what a pass without gradient may have left, so that no old weights are used again."""
    for part in _parts(model):
        part.reshard()


def whole(tensor: Tensor) -> Tensor:
    """The tensor, put together where it is sharded; for all processes at once."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_on_leader(tensors: Mapping[str, Tensor], group: Group) -> dict[str, Tensor]:
    """Sharded tensors as whole ones in the main memory of rank 0; nothing on the others.

    One after another, so that no process holds more than one of them besides its shares. A tensor
    that has two names is one tensor here too.
    """
    found: dict[str, Tensor] = {}
    seen: dict[int, Tensor] = {}
    for name, tensor in tensors.items():
        if id(tensor) not in seen:
            put_together = whole(tensor.detach())
            seen[id(tensor)] = put_together.cpu() if group.leads else torch.empty(0)
        found[name] = seen[id(tensor)]
    return found if group.leads else {}


def give_shares(sharded: Sequence[Tensor], given: Sequence[Tensor] | None) -> None:
    """Fill sharded tensors, in place, with each process's share of what rank 0 gives.

    On the other processes `given` is None.
    """
    for index, tensor in enumerate(sharded):
        target = cast(Any, tensor)
        if given is None:
            source = torch.empty(target.shape, dtype=target.dtype, device=target.device)
        else:
            source = given[index].to(target.device)
        with torch.no_grad():
            target.copy_(distribute_tensor(source, target.device_mesh, target.placements))


def _parts(model: nn.Module) -> list[FSDPModule]:
    return [part for part in model.modules() if isinstance(part, FSDPModule)]
