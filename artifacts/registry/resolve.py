"""A policy's folder by name: the embedded default, a folder, a hub id, or a registered version."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from artifacts.registry.hub import from_hub, hub_folder, is_fetched
from artifacts.registry.integrity import intact_folder
from artifacts.registry.versions import REGISTRY, RegisteredVersion, registered_version
from artifacts.tracking.archive import Archive
from policy.model.embedded import FOLDER as DEFAULT_FOLDER
from policy.model.embedded import prepare_default
from policy.model.load import check_folder
from schemas.errors import InputError
from schemas.files import exists, of_user
from schemas.references import PolicyRef

DEFAULT = "default"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
LogMessage = Callable[[str], None]


def resolve_policy(
    archive: Archive, model: str, log_message: LogMessage = lambda line: None
) -> PolicyRef:
    """The policy behind a name; the default is converted, and a hub model fetched, once.

    `model` is `default`, `models:/NAME@ALIAS`, `models:/NAME/VERSION`, a folder, or a hub id
    `owner/name`; a folder that exists wins over a hub id. Raises InputError when there is none, and
    for a version whose files are no longer those that were registered.
    """
    folder = _folder(archive, model, log_message)
    check_folder(folder)
    return PolicyRef(name=model, digest=archive.folders.digest(folder))


def check_model_name(archive: Archive, model: str) -> None:
    """InputError when `model` cannot name a policy; nothing is converted, fetched or hashed."""
    if model == DEFAULT:
        return
    if model.startswith(REGISTRY):
        _check_version(registered_version(archive, model))
    elif exists(of_user(model)):
        check_folder(of_user(model))
    elif not HUB_ID.fullmatch(model):
        raise InputError(
            "no such folder, and not a hub id either",
            f"--model {model}",
            "give default, a folder, OWNER/NAME, models:/NAME@ALIAS or models:/NAME/VERSION",
        )


def known_folder(archive: Archive, model: str) -> Path | None:
    """The folder of a name that `check_model_name` accepts, or None if it has yet to come.

    Raises InputError for a version whose files are no longer those that were registered.
    """
    if model.startswith(REGISTRY):
        return _registered_folder(archive, model, lambda line: None)
    local = of_user(model)
    if model == DEFAULT:
        local = archive.data_dir.models / DEFAULT_FOLDER
    elif not exists(local):
        folder = hub_folder(archive.data_dir.models, model)
        return folder.absolute() if is_fetched(folder) else None
    return local.absolute() if exists(local / "config.json") else None


def _folder(archive: Archive, model: str, log_message: LogMessage) -> Path:
    check_model_name(archive, model)
    if model == DEFAULT:
        return prepare_default(archive.data_dir.models, on_progress=log_message)
    if model.startswith(REGISTRY):
        return _registered_folder(archive, model, log_message)
    local = of_user(model)
    if exists(local):
        return local.absolute()
    return from_hub(archive.data_dir.models, model, log_message)


def _registered_folder(archive: Archive, model: str, log_message: LogMessage) -> Path:
    version = registered_version(archive, model)
    _check_version(version)
    return intact_folder(archive.folders, version, model, log_message)


def _check_version(version: RegisteredVersion) -> None:
    """InputError, in the version's name, where its folder is not one of a model any more."""
    try:
        check_folder(version.folder)
    except InputError as fault:
        raise InputError(
            f"its files are not those that were registered: {fault.what}",
            version.name,
            "`threeloops doctor` says which, and what to do",
        ) from None
