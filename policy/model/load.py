"""A policy from a local folder: the model, its tokenizer, its end tokens and its fingerprint.

Loading works offline, runs no code that comes with a model and unpickles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policy.files.dry_build import refuse_larger_than_its_weights
from policy.files.header import stored_tensors
from policy.files.model_files import (
    DEFINING_FILES,
    defining_files,
    one_line,
    read_json,
    refuse_detours,
    refuse_no_files,
    weight_files,
)
from policy.files.sizes import check_sizes
from policy.files.vocabulary import check_vocabulary
from policy.limited.tokenizer_trial import explaining_tokenizer, is_panic, try_file, try_loaded
from policy.model.import_transformers import import_transformers
from schemas.config import Precision
from schemas.errors import InputError
from schemas.files import MOST_JSON_BYTES
from schemas.identity import digest_of, file_digest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
VOCABULARIES = (*TOKENIZER_FILES, "merges.txt")
MOST_VOCABULARY_BYTES = 64 * 2**20  # those with 262,000 tokens have 33 MB
MOST_END_TOKENS = 1000
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
    folder: Path,
    *,
    name: str,
    device: str = "auto",
    precision: Precision = "auto",
    digest: str | None = None,
) -> Policy:
    """The policy in `folder`, with float32 weights on every device (see `policy.model.precision`).

    `device` is `auto` (a GPU if there is one), `cpu`, `cuda` or another that torch knows;
    `precision` is that of its products. `digest` is the folder's `fingerprint` where it is known
    already. Raises InputError for a folder that `check_folder` refuses, weights that do not fit the
    config, a model without an end token, or a tokenizer with more tokens than the model has.
    """
    check_folder(folder)
    check_weights(folder)
    import torch

    import_transformers()
    from transformers import AutoModelForCausalLM

    from policy.model.precision import compute_dtype, compute_in

    place = resolve_device(device)
    tokenizer = load_tokenizer(folder)
    _refuse_larger_than_its_weights(folder)
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
        raise _not_loadable(error, folder) from error
    _check_weights(info, folder)
    _check_vocabulary(model, tokenizer, folder)
    ends = end_token_ids(model.generation_config, tokenizer, folder)
    model = model.to(place).eval()
    compute_in(model, compute_dtype(place, precision))
    digest = digest or fingerprint(folder)
    return Policy(model, tokenizer, name, digest, ends, folder, place, model.dtype)


def load_config(folder: Path) -> Any:
    """The config of a model folder as transformers makes it; InputError where it cannot."""
    import_transformers()
    from transformers import AutoConfig, PreTrainedConfig

    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            of_text = config.get_text_config()
    except Exception as error:  # transformers raises errors of many kinds
        raise _not_loadable(error, folder) from error
    if not isinstance(of_text, PreTrainedConfig):
        raise InputError(
            f"text_config is a {type(of_text).__name__}, not settings",
            str(folder / "config.json"),
            "take config.json from where the weights came from",
        )
    return config


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder, without the model."""
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise InputError("no tokenizer in this folder", str(folder), "add its tokenizer.json")
    if (file := folder / "tokenizer.json").is_file():
        check_vocabulary(file)
        try_file(file)
    import_transformers()
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except BaseException as error:  # a broken tokenizer.json raises even a bare Exception
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        raise InputError(
            f"the tokenizer cannot be loaded ({one_line(error)})", str(folder)
        ) from error
    try_loaded(tokenizer, str(folder))
    if type(longest := tokenizer.model_max_length) not in (int, float):
        raise InputError(
            f"model_max_length is {str(longest)[:40]!r}, not a number",
            str(folder / "tokenizer_config.json"),
            "give the tokens of its context",
        )
    return tokenizer


def fingerprint(folder: Path, digest_file: Callable[[Path], str] = file_digest) -> str:
    """SHA-256 over the names and digests of the files that define the policy; loads nothing.

    `digest_file` gives the digest of one file's bytes.
    """
    return fingerprint_of({file.name: digest_file(file) for file in defining_files(folder)})


def fingerprint_of(digests: Mapping[str, str]) -> str:
    """The fingerprint of a policy whose files have these digests, by name."""
    return digest_of(dict(digests))


def check_folder(folder: Path) -> None:
    """Raise InputError unless `folder` looks like a decoder-only model in safetensors.

    Only the JSON files are read, so this is cheap enough to run before any heavy work.
    """
    where = str(folder)
    if not folder.is_dir():
        raise InputError("no such model folder", where, "name a folder with a config.json")
    refuse_no_files(folder)
    config = read_json(folder / "config.json")
    if (folder / "adapter_config.json").is_file():
        raise InputError(
            "this is an adapter, not a whole model", where, "merge it into its base model first"
        )
    weight_files(folder)
    _refuse_large_files(folder)
    refuse_detours(folder)
    _refuse_many_end_tokens(folder)
    architectures = config.get("architectures") or []
    if not (isinstance(architectures, list) and all(isinstance(a, str) for a in architectures)):
        raise InputError("architectures is not a list of names", str(folder / "config.json"))
    causal = [name for name in architectures if name.endswith(("ForCausalLM", "LMHeadModel"))]
    if config.get("is_encoder_decoder") or (architectures and not causal):
        raise InputError(
            f"{', '.join(architectures) or 'this model'} is not a decoder-only language model",
            where,
            "take a model whose config.json names an architecture …ForCausalLM",
        )
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise InputError("no tokenizer in this folder", where, "add its tokenizer.json")


def check_weights(folder: Path) -> None:
    """InputError for sizes in config.json that are not those of the weights.

    Of the weights only the headers are read, so that no model is made of sizes that are made up.
    """
    file = folder / "config.json"
    check_sizes(read_json(file), weight_files(folder), file)


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
        with explaining_tokenizer(str(tokenizer.name_or_path)):
            part = tokenizer.decode(
                known, skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        text += str(part)
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
            f"the device {device} cannot be used ({one_line(error)})", remedy="use --device cpu"
        ) from error
    return place


def _refuse_large_files(folder: Path) -> None:
    """InputError for a small file of a model that is too large to be one."""
    for name in DEFINING_FILES:
        most = MOST_VOCABULARY_BYTES if name in VOCABULARIES else MOST_JSON_BYTES
        file = folder / name
        if file.is_file() and file.stat().st_size > most:
            raise InputError(f"is larger than {most // 2**20} MB", str(file), "take another model")


def _refuse_many_end_tokens(folder: Path) -> None:
    for name in ("config.json", "generation_config.json"):
        if (folder / name).is_file():
            ends = read_json(folder / name).get("eos_token_id")
            if isinstance(ends, list) and len(ends) > MOST_END_TOKENS:
                raise InputError(
                    f"eos_token_id holds {len(ends):,} tokens",
                    str(folder / name),
                    f"name {MOST_END_TOKENS} at most",
                )


def _refuse_larger_than_its_weights(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    maker: Any = AutoModelForCausalLM
    config, tensors = load_config(folder), stored_tensors(weight_files(folder))
    packed = bool(getattr(config, "quantization_config", None))
    try:
        with quiet_transformers():
            refuse_larger_than_its_weights(
                lambda: maker.from_config(config), tensors, packed=packed, folder=folder
            )
    except InputError:
        raise
    except Exception as error:
        raise _not_loadable(error, folder) from error


def _not_loadable(error: Exception, folder: Path) -> InputError:
    return InputError(
        f"the model cannot be loaded ({one_line(error)})",
        str(folder),
        "it must be a decoder-only model that transformers knows without code of its own",
    )


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
    ends: list[Any] = [*(configured if isinstance(configured, list) else [configured])]
    ends = [token for token in (*ends, tokenizer.eos_token_id) if token is not None]
    if strange := [token for token in ends if type(token) is not int or token < 0]:
        raise InputError(
            f"eos_token_id holds {strange[0]!r}, which is no token",
            str(folder),
            "set eos_token_id in its generation_config.json",
        )
    if not ends:
        raise InputError(
            "the model has no end token, so no completion could ever be finished",
            str(folder),
            "set eos_token_id in its generation_config.json",
        )
    return tuple(sorted(set(ends)))
