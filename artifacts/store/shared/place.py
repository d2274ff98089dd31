"""Which store is shared: `THREELOOPS_STORE`, or none, where the data folder is all there is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from artifacts.store.shared.bucket import BucketObjects
from artifacts.store.shared.folder import FolderObjects
from artifacts.store.shared.objects import VARIABLE, Objects
from artifacts.store.shared.options import PREFIXES, scheme_of
from schemas.errors import InputError

SCHEMES = ("s3", "gs", "az")
_ADDRESS = re.compile(r"(?:s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9._-]+)*/?")
WRITE = "write s3://BUCKET/PREFIX, gs://…, az://… or file:///FOLDER"


def store_address(environment: Mapping[str, str] = os.environ) -> str:
    """What names the shared store; empty without one."""
    return environment.get(VARIABLE, "").strip()


def shared_store(address: str) -> Objects | None:
    """The store at an address; None without one. Nobody is asked yet.

    Raises InputError for an address that names no store, and for one with a login in it, which
    would be seen in the list of processes and in logs.
    """
    if not address:
        return None
    scheme, mark, rest = address.partition("://")
    is_folder = bool(mark) and scheme == "file"
    # a folder may have an @ in its name; a password may have a slash in it
    if "?" in address or ("@" in address and not (is_folder and rest.startswith("/"))):
        names = PREFIXES.get(scheme_of(address), "AWS_")
        raise InputError(
            "has a login or settings in it",
            VARIABLE,
            f"give them by {names}… in the environment; {WRITE}",
        )
    if is_folder:
        if not rest.startswith("/"):
            raise InputError(
                "has two slashes, and what follows them is the name of a machine",
                f"{VARIABLE}={address}",
                "write file:///FOLDER, with the whole path",
            )
        return FolderObjects(Path(unquote(rest)))
    if scheme not in SCHEMES or not mark:
        raise InputError(
            "is no address of a store that is known here", f"{VARIABLE}={address}", WRITE
        )
    if not _ADDRESS.fullmatch(address):
        raise InputError(
            "is not a bucket and a prefix of letters, digits and . _ -",
            f"{VARIABLE}={address}",
            WRITE,
        )
    return BucketObjects(address.rstrip("/"))
