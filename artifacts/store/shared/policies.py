"""The policies of a shared store: the digests of their files by the policy's own, and the files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from artifacts.store.shared.objects import Objects, fetch_checked
from policy.files.atomic_folder import atomic_folder
from policy.files.model_files import INDEX
from schemas.errors import StoreError
from schemas.identity import canonical_json, digest_of

SHA256 = re.compile("[0-9a-f]{64}")


def send_policy(objects: Objects, folder: Path, files: Mapping[str, str]) -> None:
    """Keep the policy of a folder; `files` are the digests of its files by name.

    A file that is there already, as a tokenizer is with each version, is not sent again. What says
    which files belong to the policy comes last, so a policy that is there is whole.
    """
    for name, digest in files.items():
        if not objects.exists(_file(digest)):
            objects.put(_file(digest), folder / name)
    digest = digest_of(dict(files))
    if (index := folder / INDEX).is_file():  # says which weights lie in which file
        objects.put(_index(digest), index)
    objects.put(_listed(digest), canonical_json(dict(files)).encode())


def fetch_policy(objects: Objects, digest: str, folder: Path) -> bool:
    """Fetch a policy into a folder, in place of what is there; False where it is not in the store.

    Each file is compared with its digest: StoreError where one differs or is missing.
    """
    files = files_of_policy(objects, digest)
    if files is None:
        return False
    with atomic_folder(folder) as partial:
        for name, expected in files.items():
            arriving = partial / f"{expected}.arriving"
            if not fetch_checked(objects, _file(expected), arriving):
                raise StoreError(f"{name} is missing", f"policy {digest[:12]} in {objects.address}")
            arriving.rename(partial / name)
        if (index := objects.get(_index(digest))) is not None:
            (partial / INDEX).write_bytes(index.content)
    return True


def files_of_policy(objects: Objects, digest: str) -> Mapping[str, str] | None:
    """The digests of a policy's files by name; None where it is not in the store."""
    if not SHA256.fullmatch(digest) or (found := objects.get(_listed(digest))) is None:
        return None
    try:
        files = json.loads(found.content)
    except ValueError:
        files = None
    # a name that is none of a policy's could be a path out of the folder
    whole = isinstance(files, dict) and all(
        isinstance(one, str) and SHA256.fullmatch(one) and name != ".." and Path(name).name == name
        for name, one in files.items()
    )
    if not whole or digest_of(files) != digest:
        raise StoreError(
            "it does not say which files the policy has",
            f"{_listed(digest)} in {objects.address}",
            "delete it there, and save the policy again",
        )
    return dict(files)


def _listed(digest: str) -> str:
    return f"policies/{digest}.json"


def _index(digest: str) -> str:
    return f"policies/{digest}.{INDEX}"


def _file(digest: str) -> str:
    return f"files/{digest}"
