"""What the figures were measured on: the machine, the versions, a GPU or none; and the model.

It names no host and no user.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from artifacts.store.data_dir import current_data_dir
from bench.process import Record, answer, cores
from bench.workload import precision_on
from policy.model.embedded import prepare_default
from policy.model.load import resolve_device
from policy.model.precision import compute_dtype
from policy.model.tiny import make_tiny_model

COMPUTING = ("torch", "transformers")
PACKAGES = (*COMPUTING, "pyarrow", "pandera", "prefect", "mlflow")
CPU_INFO = Path("/proc/cpuinfo")


def measure(tiny: str | None = None, computing_alone: bool = False) -> Record:
    """The setting, with the folder of the model: the default one, or a tiny one made there.

    With `computing_alone` only the versions that matter to sampling and learning are named.
    """
    if tiny is None:
        folder = prepare_default(current_data_dir().models, on_progress=lambda _: None)
    else:
        folder = make_tiny_model(Path(tiny))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    place = resolve_device("auto")
    return {
        "folder": str(folder),
        "model": folder.name,
        "machine": {
            "cpu": _cpu_name(),
            "cores": cores(),
            "widest_instructions": torch.backends.cpu.get_cpu_capability(),
            "memory_gib": round(memory / 2**30, 1),
            "system": platform.system(),
        },
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in (COMPUTING if computing_alone else PACKAGES)},
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "products": str(compute_dtype(place, precision_on(place.type))).removeprefix("torch."),
    }


def _cpu_name() -> str:
    """The processor's name as Linux tells it, with family and model where the name says little."""
    lines = CPU_INFO.read_text().split("\n\n")[0].splitlines()
    parted = (line.partition(":") for line in lines)
    fields = {name.strip(): value.strip() for name, _, value in parted}
    name = fields.get("model name", platform.machine())
    return f"{name} (family {fields.get('cpu family')}, model {fields.get('model')})"


if __name__ == "__main__":
    answer(measure)
