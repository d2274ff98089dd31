"""The weights of a model as one digest, for tests that compare them byte for byte."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def digest_of_weights(model: nn.Module) -> str:
    """Hexadecimal SHA-256 over every parameter's name, dtype, shape and bytes, sorted by name."""
    digest = hashlib.sha256()
    for name, value in sorted(model.named_parameters()):
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
