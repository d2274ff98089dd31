"""A policy from a local folder: the model, its tokenizer, its end tokens and its fingerprint.

Loading works offline, runs no code that comes with a model and unpickles nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError
from schemas.identity import digest_of, file_digest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# besides the weights, these files decide which tokens come out and which text they are
DEFINING_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
UNKNOWN_TOKEN_TEXT = "\N{REPLACEMENT CHARACTER}"


@dataclass
class Policy:
    """A loaded model in evaluation mode, with everything that sampling from it needs."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str  # as the user wrote it
    digest: str  # `fingerprint` of the folder it was loaded from
    end_token_ids: tuple[int, ...]  # ascending
    folder: Path
    device: torch.device
    dtype: torch.dtype


def load_policy(
    folder: Path, *, name: str, device: str = "auto", digest: str | None = None
) -> Policy:
    """The policy in `folder`, with float32 weights on every device (see `policy.model.precision`).

    `device` is `auto` (a GPU if there is one), `cpu`, `cuda` or another that torch knows. `digest`
    is the folder's `fingerprint` where it is known already. Raises
    InputError for a folder that `check_folder` refuses, weights that do not fit the config, a model
    without an end token, or a tokenizer with more tokens than the model has.
    """
    check_folder(folder)
    import torch
    from transformers import AutoModelForCausalLM

    place = resolve_device(device)
    tokenizer = load_tokenizer(folder)
    loader: Any = AutoModelForCausalLM
    try:
        with quiet_transformers():
            model, info = loader.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they come back in `info` and are refused below
            )
    except Exception as error:  # transformers and safetensors raise errors of many kinds
        raise InputError(
            f"the model cannot be loaded ({_one_line(error)})",
            str(folder),
            "it must be a decoder-only model that transformers knows without code of its own",
        ) from error
    _check_weights(info, folder)
    _check_vocabulary(model, tokenizer, folder)
    ends = end_token_ids(model.generation_config, tokenizer, folder)
    model = model.to(place).eval()
    digest = digest or fingerprint(folder)
    return Policy(model, tokenizer, name, digest, ends, folder, place, model.dtype)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder, without the model."""
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise InputError("no tokenizer in this folder", str(folder), "add its tokenizer.json")
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # a broken tokenizer.json raises even a bare Exception
        raise InputError(
            f"the tokenizer cannot be loaded ({_one_line(error)})", str(folder)
        ) from error
    return tokenizer


def fingerprint(folder: Path, digest_file: Callable[[Path], str] = file_digest) -> str:
    """SHA-256 over the names and digests of the files that define the policy; loads nothing.

    `digest_file` gives the digest of one file's bytes.
    """
    others = [folder / name for name in DEFINING_FILES if (folder / name).is_file()]
    files = sorted([*weight_files(folder), *others])
    return digest_of({file.name: digest_file(file) for file in files})


def check_folder(folder: Path) -> None:
    """Raise InputError unless `folder` looks like a decoder-only model in safetensors.

    Only the JSON files are read, so this is cheap enough to run before any heavy work.
    """
    where = str(folder)
    if not folder.is_dir():
        raise InputError("no such model folder", where, "name a folder with a config.json")
    config = _read_json(folder / "config.json")
    if (folder / "adapter_config.json").is_file():
        raise InputError(
            "this is an adapter, not a whole model", where, "merge it into its base model first"
        )
    weight_files(folder)
    architectures = config.get("architectures") or []
    causal = [name for name in architectures if name.endswith(("ForCausalLM", "LMHeadModel"))]
    if config.get("is_encoder_decoder") or (architectures and not causal):
        raise InputError(
            f"{', '.join(architectures) or 'this model'} is not a decoder-only language model",
            where,
            "take a model whose config.json names an architecture …ForCausalLM",
        )
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise InputError("no tokenizer in this folder", where, "add its tokenizer.json")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers would load; InputError when there are none."""
    where = str(folder)
    if (single := folder / "model.safetensors").is_file():
        return [single]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted(set(_read_json(index).get("weight_map", {}).values()))
        missing = [name for name in shards if not (folder / name).is_file()]
        if missing or not shards:
            raise InputError(
                f"weights are missing ({', '.join(missing[:3]) or 'the index is empty'})",
                where,
                "copy the whole folder again",
            )
        return [folder / name for name in shards]
    if pickled := [file for pattern in PICKLES for file in folder.glob(pattern)]:
        raise InputError(
            f"the weights are pickled ({pickled[0].name}), and unpickling can run any code",
            where,
            "save the model again with save_pretrained(safe_serialization=True)",
        )
    raise InputError("no weights in this folder", where, "add its model.safetensors")


def decode_completion(
    tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int], end_token_ids: Sequence[int]
) -> str:
    """The text that the model emitted, unchanged, without the one end token that closed it.

    Special tokens are written out, because a scorer must not read `Final: 7<|im_start|>` as
    `Final: 7`. Bytes that are not UTF-8, and ids for which the tokenizer has no token, become
    U+FFFD.
    """
    ids = list(token_ids)
    if ids and ids[-1] in end_token_ids:
        ids.pop()
    size = len(tokenizer)
    text, known = "", []
    for token in [*ids, None]:
        if token is not None and 0 <= token < size:
            known.append(token)
            continue
        text += str(
            tokenizer.decode(known, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        )
        text += UNKNOWN_TOKEN_TEXT if token is not None else ""
        known = []
    return text


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' progress bars and advice; real problems are raised as errors."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def resolve_device(device: str) -> torch.device:
    """What `auto`, `cpu` or `cuda` means here; InputError for a device that cannot be used."""
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"the device {device} cannot be used ({_one_line(error)})", remedy="use --device cpu"
        ) from error
    return place


def _check_weights(info: dict[str, Any], folder: Path) -> None:
    """Refuse weights that would be left random; weights that the model does not use are ignored."""
    for key, fault in (("missing_keys", "are missing"), ("mismatched_keys", "have another shape")):
        if names := sorted(str(name) for name in info.get(key, ())):
            raise InputError(
                f"the weights do not fit the model: {len(names)} {fault}, such as {names[0]}",
                str(folder),
                "config.json and weights must come from one model",
            )


def _check_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> None:
    embeddings: Any = model.get_input_embeddings()
    rows = len(embeddings.weight)
    if len(tokenizer) > rows:
        raise InputError(
            f"the tokenizer has {len(tokenizer)} tokens, the model only {rows}",
            str(folder),
            "tokenizer and weights must come from one model",
        )


def end_token_ids(
    generation_config: Any, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> tuple[int, ...]:
    """The tokens that end a completion, ascending: the generation config's and the tokenizer's.

    Raises InputError where there are none.
    """
    configured = generation_config.eos_token_id if generation_config else None
    ends = set(configured if isinstance(configured, list) else [configured])
    ends |= {tokenizer.eos_token_id}
    ends -= {None}
    if not ends:
        raise InputError(
            "the model has no end token, so no completion could ever be finished",
            str(folder),
            "set eos_token_id in its generation_config.json",
        )
    return tuple(sorted(int(token) for token in ends))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"no {file.name} in this folder", str(file.parent), "name a model's folder"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read as JSON ({_one_line(error)})", str(file)) from None
    if not isinstance(content, dict):
        raise InputError("is not a JSON object", str(file))
    return content


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
