"""Datasets of the hub: a name becomes a commit, and files of that commit are fetched once.

Each file appears when it is whole and has the digest that the hub says. What was fetched is used
without the hub, and nothing in a repository is executed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote

from artifacts.datasets.layout import CARD, MOST_CARD_BYTES, Splits, layout_of
from artifacts.datasets.rows import MOST_BYTES
from artifacts.store.atomic_file import write_atomic
from policy.files.atomic_folder import being_written, flush
from schemas.errors import InputError
from schemas.files import is_file, read_json_object
from schemas.identity import canonical_json, file_digest

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoSibling

PREFIX = "hf:"
NAME = re.compile(
    r"hf:(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)"
    r"(?::(?P<config>[^@:/\s][^@:/]*))?(?:@(?P<revision>\w[\w./-]*))?",
    re.ASCII,
)
COMMIT = re.compile("[0-9a-f]{40}")
LATEST = "main"
LISTING = "listing.json"  # of a commit: its files with size and digest
OFFLINE = "HF_HUB_OFFLINE"
ENDPOINT = "HF_ENDPOINT"


@dataclass(frozen=True)
class HubName:
    """`hf:OWNER/NAME[:CONFIG][@REVISION]` in its parts."""

    repository: str
    config: str | None
    revision: str

    @classmethod
    def of(cls, dataset: str) -> HubName:
        """The parts of a name; InputError for what is none."""
        match = NAME.fullmatch(dataset)
        if match is None or ".." in dataset:
            raise InputError(
                "is no name of a dataset on the hub",
                f"--dataset {dataset}",
                "write hf:OWNER/NAME, hf:OWNER/NAME:CONFIG, or either with @REVISION",
            )
        return cls(match["id"], match["config"], match["revision"] or LATEST)

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return COMMIT.fullmatch(self.revision) is not None

    @property
    def unpinned(self) -> str:
        """The name without its revision."""
        return f"{PREFIX}{self.repository}" + (f":{self.config}" if self.config else "")

    def at(self, commit: str) -> str:
        """The name of this dataset at one commit."""
        return f"{self.unpinned}@{commit}"


class HubDatasets:
    """The datasets of the hub that are or will be in a folder, by `OWNER--NAME/COMMIT`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "hub"

    def pinned(self, dataset: str) -> str:
        """The name with the commit that it means now; asks the hub unless it is a known commit.

        Raises InputError where the hub has no such dataset or revision, cannot be reached, or is
        not to be asked and the revision was never fetched.
        """
        name = HubName.of(dataset)
        if name.is_pinned and is_file(self._listing(name, name.revision)):
            return dataset
        note = self._home(name) / "revisions" / quote(name.revision, safe="")
        if _is_offline():
            return name.at(_noted(note, name))
        commit, listing = _ask(name, known=note)
        write_atomic(_made(self._listing(name, commit)), canonical_json(listing).encode())
        write_atomic(_made(note), commit.encode())
        return name.at(commit)

    def splits(self, pinned: str) -> Splits:
        """The splits of a pinned dataset and the files of each."""
        name = HubName.of(pinned)
        listing = read_json_object(self._listing(name, name.revision))
        card = ""
        if CARD in listing:
            path = self.files(pinned, [CARD])[0]
            with path.open("rb") as file:
                card = file.read(MOST_CARD_BYTES).decode("utf-8", "replace")
        return layout_of(card, listing, name.unpinned).splits(name.config, name.unpinned)

    def files(self, pinned: str, paths: Sequence[str]) -> list[Path]:
        """These files of a pinned dataset on this machine; what is not there yet is fetched.

        One process fetches while the others wait. Raises InputError where one cannot be fetched.
        """
        name = HubName.of(pinned)
        home = self._home(name) / name.revision
        there = [home / "files" / path for path in paths]
        if all(map(is_file, there)):
            return there
        if _is_offline():
            path = next(one for one, at in zip(paths, there, strict=True) if not is_file(at))
            raise _not_asked(name, path)
        listing = read_json_object(self._listing(name, name.revision))
        _refuse_too_much(name, sum(int(listing[path]["size"]) for path in paths))
        partial = home.with_name(f".{home.name}.partial")  # stays, so that a fetch goes on
        with being_written(partial):
            for path, target in zip(paths, there, strict=True):
                if not is_file(target):
                    found = _fetch(name, path, partial)
                    _refuse_changed(name, path, found, listing[path])
                    flush(found)
                    found.replace(_made(target))
                    flush(target.parent)
            shutil.rmtree(partial)
        return there

    def _home(self, name: HubName) -> Path:
        return self._folder / name.repository.replace("/", "--")

    def _listing(self, name: HubName, commit: str) -> Path:
        return self._home(name) / commit / LISTING


def _made(path: Path) -> Path:
    """The path, whose folder is there from now on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _noted(note: Path, name: HubName) -> str:
    """The commit that a revision was when the hub was asked last."""
    try:
        commit = note.read_text("ascii").strip()
    except (OSError, ValueError):
        commit = ""
    if not COMMIT.fullmatch(commit):
        raise _not_asked(name, f"revision {name.revision!r}")
    return commit


def _not_asked(name: HubName, what: str) -> InputError:
    return _refused(
        name, f"{what} was never fetched, and the hub is not asked", f"unset {OFFLINE} to fetch it"
    )


def _ask(name: HubName, known: Path) -> tuple[str, dict[str, dict[str, str | int]]]:
    """The commit of a revision, and its files with size and digest, as the hub says."""
    from huggingface_hub import errors

    try:
        found = _api().dataset_info(name.repository, revision=name.revision, files_metadata=True)
    except errors.RevisionNotFoundError:
        raise _refused(
            name, f"has no revision {name.revision!r}", "name a branch, a tag or a commit"
        ) from None
    except errors.GatedRepoError:
        raise _refused(
            name, "is given out on request only", "ask for it on its page, then set HF_TOKEN"
        ) from None
    except Exception as error:  # the hub's client raises many kinds
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403):
            raise _refused(
                name,
                "is not on the hub, or is private",
                "check the name; for a private one set HF_TOKEN",
            ) from None
        remedy = f"check the network and {ENDPOINT}"
        if is_file(known):
            remedy += f", or set {OFFLINE}=1 to use what was fetched before"
        raise _refused(name, f"the hub does not answer ({type(error).__name__})", remedy) from None
    commit = str(found.sha)
    if not COMMIT.fullmatch(commit):
        raise _refused(name, "the hub names no commit for it", f"check {ENDPOINT}")
    return commit, {one.rfilename: _described(one) for one in found.siblings or () if _inside(one)}


def _inside(file: RepoSibling) -> bool:
    """Whether a file's path stays inside the folder that it is put into."""
    path = PurePosixPath(file.rfilename)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in file.rfilename


def _described(file: RepoSibling) -> dict[str, str | int]:
    described: dict[str, str | int] = {"size": file.size or 0}
    if file.lfs is not None and file.lfs.sha256:
        described["sha256"] = file.lfs.sha256
    elif file.blob_id:
        described["blob"] = file.blob_id
    return described


def _fetch(name: HubName, path: str, partial: Path) -> Path:
    try:
        found = _api().hf_hub_download(
            name.repository, path, repo_type="dataset", revision=name.revision, local_dir=partial
        )
    except Exception as error:  # as in `_ask`
        what = f"{path} could not be fetched from the hub ({type(error).__name__})"
        raise _refused(name, what, "run again to go on") from None
    return Path(found)


def _refuse_changed(name: HubName, path: str, found: Path, said: dict[str, str | int]) -> None:
    """InputError, and the file is gone, where it is not what the hub said that it is."""
    digest = {"sha256": file_digest, "blob": _git_blob}
    kind = next((one for one in digest if one in said), None)
    if kind is None or digest[kind](found) == said[kind]:
        return
    found.unlink()
    raise _refused(name, f"{path} is not what the hub says it is", "run again to fetch it anew")


def _git_blob(path: Path) -> str:
    """The id that git gives a file."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _refuse_too_much(name: HubName, size: int) -> None:
    if size > MOST_BYTES:
        most = MOST_BYTES // 2**30
        raise _refused(
            name, f"has {size / 2**30:.0f} GB in one split, more than {most}", "use a smaller one"
        )


def _api() -> HfApi:
    """The hub's client, which says nothing by itself."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    disable_progress_bars()
    return HfApi(endpoint=os.environ.get(ENDPOINT, "").rstrip("/") or None)


def _refused(name: HubName, what: str, remedy: str) -> InputError:
    shown = name.unpinned + (f"@{name.revision}" if name.revision != LATEST else "")
    return InputError(what, f"--dataset {shown}", remedy)
