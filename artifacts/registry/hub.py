"""Models of the hub: fetched once, into a folder that is there whole or not at all.

What a fetch that failed, or was killed, has got stays beside it for the next one.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from policy.files.atomic_folder import flush
from policy.model.load import check_folder
from schemas.errors import InputError
from schemas.files import exists

# weights and what it takes to read them; never pickles, never code
HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt"]
HUB_FILES += ["README.md"]  # the model's card, which names its licence
CLIENT = ".cache"  # where the hub's client notes what it has
HUB_SECONDS = 15  # for the hub to say which commit a name means
COMMIT = ".commit"  # of the files in a folder that is being fetched


def hub_folder(models: Path, model: str) -> Path:
    """Where a model of the hub is or will be, in the folder of models."""
    return models / "hub" / model.replace("/", "--")


def is_fetched(folder: Path) -> bool:
    """Whether a folder holds everything of a model of the hub.

    Earlier versions fetched into this place itself, and left the client's notes there. Such a
    folder may be a part only, and counts if a model can be loaded from it.
    """
    if not exists(folder / "config.json"):
        return False
    if not exists(folder / CLIENT):
        return True
    with contextlib.suppress(InputError):
        check_folder(folder)
        return not any((folder / CLIENT).rglob("*.incomplete"))
    return False


def from_hub(models: Path, model: str, log_message: Callable[[str], None]) -> Path:
    """The folder of a hub model, fetched where it is not there yet.

    One process fetches while the others wait; its lock ends with it, also when it is killed.
    Raises InputError for a model that the hub does not have, or that cannot be fetched now.
    """
    target = hub_folder(models, model)
    if is_fetched(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(models / f".{target.name}.lock"):
        if not is_fetched(target):
            log_message(f"fetching {model} from the hub")
            try:
                _fetch(model, target)
            except Exception:  # the hub client raises many kinds, all meaning: not fetched
                raise _not_there(model) from None
    return target


def check_on_hub(model: str) -> None:
    """InputError for a model that the hub does not have, or that it cannot be asked for now.

    The hub is asked once, and nothing is fetched.
    """
    try:
        _commit(model)
    except Exception:
        raise _not_there(model) from None


def _not_there(model: str) -> InputError:
    return InputError(
        "could not be fetched from the hub: there is no such model, or no way to the hub",
        f"--model {model}",
        "check the id and the network, or give a local folder",
    )


def _commit(model: str) -> str:
    from huggingface_hub import model_info

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    return str(model_info(model, timeout=HUB_SECONDS).sha)


def _fetch(model: str, target: Path) -> None:
    """Fetch beside the target, then rename."""
    from huggingface_hub import snapshot_download

    # with a name alone, the client calls any part whole where there is no network
    commit = _commit(model)
    partial = target.with_name(f".{target.name}.partial")
    if target.exists() and not partial.exists():
        target.rename(partial)  # a part that an earlier version fetched
    shutil.rmtree(target, ignore_errors=True)
    if _commit_of(partial) not in ("", commit):
        shutil.rmtree(partial)
    partial.mkdir(exist_ok=True)
    (partial / COMMIT).write_text(commit)
    snapshot_download(model, revision=commit, allow_patterns=HUB_FILES, local_dir=partial)
    shutil.rmtree(partial / CLIENT, ignore_errors=True)
    (partial / COMMIT).unlink()
    for path in [*partial.rglob("*"), partial]:
        flush(path)
    partial.rename(target)
    flush(target.parent)


def _commit_of(partial: Path) -> str:
    try:
        return (partial / COMMIT).read_text()
    except OSError:
        return ""
