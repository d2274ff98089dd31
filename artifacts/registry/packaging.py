"""A saved policy dressed as an MLflow model: the files that tell other programs how to load it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path

from artifacts.store.atomic_file import write_atomic
from policy.files.model_files import DEFINING_FILES

FLAVOR = "transformers"
# what mlflow.transformers.load_model imports
NEEDED = ("mlflow", "transformers", "torch", "accelerate", "safetensors")
TOKENIZER_FOLDER = Path("components") / "tokenizer"  # where MLflow looks for it
NOT_THE_TOKENIZER = ("config.json", "generation_config.json")


def package(folder: Path, *, base: str, run_id: str, model_id: str, card: str) -> None:
    """Add `MLmodel`, `requirements.txt`, `README.md` and the tokenizer where MLflow looks for it.

    `folder` is a transformers folder, and stays one. The tokenizer's files are linked, not copied,
    where the file system can.
    """
    from mlflow.models import Model

    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    model = Model(run_id=run_id, model_id=model_id)
    model.add_flavor(
        FLAVOR,
        task="text-generation",
        instance_type="TextGenerationPipeline",
        pipeline_model_type=architecture,
        source_model_name=base,
        model_binary=".",
        torch_dtype="torch.float32",
        components=["tokenizer"],
        tokenizer_type="AutoTokenizer",
    )
    _link_tokenizer(folder)
    needed = "".join(f"{name}=={version(name)}\n" for name in NEEDED)
    write_atomic(folder / "requirements.txt", needed.encode())
    write_atomic(folder / "README.md", card.encode())
    model.model_size_bytes = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    write_atomic(folder / "MLmodel", model.to_yaml().encode())


def _link_tokenizer(folder: Path) -> None:
    target = folder / TOKENIZER_FOLDER
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in DEFINING_FILES:
        if name in NOT_THE_TOKENIZER or not (folder / name).is_file():
            continue
        with contextlib.suppress(OSError):
            os.link(folder / name, target / name)
            continue
        shutil.copyfile(folder / name, target / name)
