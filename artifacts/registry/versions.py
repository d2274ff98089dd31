"""Versions of models in MLflow's registry: found, registered, tagged, made champion."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from artifacts.registry.weights import FetchedWeights, LocalWeights, Weights
from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import TAG
from artifacts.tracking.experiment import local_path
from policy.model.load import fingerprint, fingerprint_of
from schemas.errors import InputError
from schemas.identity import canonical_json
from schemas.references import PolicyRef

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

REGISTRY = "models:/"
ABOUT = (
    "Each version is what one learning run made. `candidate` is the newest; `champion` is the one "
    "that the gate accepted last, on evidence from the holdout (`threeloops promote`)."
)
CANDIDATE, CHAMPION = "candidate", "champion"
# what MLflow says of a model or version that is not there, and of an alias that nothing has
MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
SHOWN = 10  # versions in a message
MOST_DIGITS = 18  # of the number of a version: MLflow's database holds none that is longer


@dataclass(frozen=True)
class RegisteredVersion:
    """One version in the registry: where its weights are, the digest they had when it was
    registered, and the run that made it.
    """

    model: str
    number: str
    weights: Weights
    digest: str
    run_id: str
    files: Mapping[str, str] = field(default_factory=dict)  # their digests then, by name

    @property
    def name(self) -> str:
        """`models:/NAME/VERSION`."""
        return f"{REGISTRY}{self.model}/{self.number}"

    @property
    def folder(self) -> Path:
        """Where its files are on this machine; they are fetched where MLflow has them elsewhere."""
        return self.weights.folder()

    def intact(self) -> bool:
        """Whether the files that define the policy still have the registered digest.

        What MLflow keeps elsewhere is fetched anew for it.
        """
        try:
            with self.weights.as_kept() as folder:
                return folder.is_dir() and fingerprint(folder) == self.digest
        except InputError:  # its weights are gone
            return False


def registered_version(archive: Archive, model: str, where: str = "--model") -> RegisteredVersion:
    """The version behind `models:/NAME@ALIAS` or `models:/NAME/VERSION`; InputError without one."""
    client = archive.tracking.client
    name, mark, rest = _registry_name(model, where)
    version = None
    with _or_missing(f"{where} {model}"):
        if mark == "@":
            version = client.get_model_version_by_alias(name, rest)
        elif len(rest) <= MOST_DIGITS:
            version = client.get_model_version(name, rest)
    if version is None:
        remedy = f"the registry has {_some(registered_versions(archive)) or 'none yet'}"
        if rest == CHAMPION:
            remedy += "; `threeloops promote` makes one of them the champion"
        raise InputError("no such version in the registry", f"{where} {model}", remedy)
    return RegisteredVersion(
        model=name,
        number=str(version.version),
        weights=_weights(archive, version),
        digest=version.tags.get(f"{TAG}digest", ""),
        run_id=version.run_id or "",
        files=files_of_tag(version.tags.get(f"{TAG}files", "")),
    )


def _some(names: Sequence[str]) -> str:
    """Names in a message: the newest, where there are many."""
    left_out = [f"and {len(names) - SHOWN} older ones"] if len(names) > SHOWN else []
    return ", ".join([*names[-SHOWN:], *left_out])


def _weights(archive: Archive, version: ModelVersion) -> Weights:
    source, digest = str(version.source), version.tags.get(f"{TAG}digest", "")
    if not archive.tracking.holds(source):
        name = f"{REGISTRY}{version.name}/{version.version}"
        return FetchedWeights(archive, name, source, digest)
    return LocalWeights(local_path(source), digest, archive.folders)


@contextmanager
def _or_missing(where: str) -> Iterator[None]:
    """Leave the block where MLflow's registry says that there is no such thing.

    Raises InputError for every other error, such as a database that is locked.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code not in MISSING:
            reason = (str(error).splitlines() or ["no reason given"])[0]
            raise InputError(
                f"MLflow's registry cannot be read ({reason})",
                where,
                "try again later; another command may be using the database",
            ) from error


def files_of_tag(tag: str) -> dict[str, str]:
    """What a version says of its files; empty where it says nothing that can be read."""
    try:
        files = json.loads(tag)
    except ValueError:
        return {}
    whole = isinstance(files, dict) and all(isinstance(one, str) for one in files.values())
    return files if whole else {}


def champion_of(archive: Archive, model: str) -> RegisteredVersion | None:
    """The version of a registered model that has the alias `champion`, or None.

    Raises InputError where the registry cannot say: then there may be one.
    """
    name = f"{REGISTRY}{model}@{CHAMPION}"
    with _or_missing(name):
        archive.tracking.client.get_model_version_by_alias(model, CHAMPION)
        return registered_version(archive, name)
    return None


def registered_digests(archive: Archive) -> set[str]:
    """The digests of every version under every name; of a version without one, nothing."""
    return {digest for _, digest in _versions(archive)}


def lasting_name(archive: Archive, name: str, digest: str) -> str:
    """A name that goes on to mean the policy of this digest.

    An alias moves, so for `models:/NAME@ALIAS` it is the version with the digest, if there is one.
    """
    if not (name.startswith(REGISTRY) and "@" in name):
        return name
    return next((version for version, found in _versions(archive) if found == digest), name)


def _versions(archive: Archive) -> list[tuple[str, str]]:
    """Name and digest of every version that has a digest."""
    if (by_sql := archive.tracking.versions_by_sql) is not None:
        return [
            (f"{REGISTRY}{name}/{number}", digest)
            for name, number, digest in by_sql.tagged(f"{TAG}digest")
        ]
    return [
        (f"{REGISTRY}{one.name}/{one.version}", one.tags[f"{TAG}digest"])
        for one in _searched(archive)
        if f"{TAG}digest" in one.tags
    ]


def _searched(archive: Archive, condition: str | None = None) -> Iterator[ModelVersion]:
    """The versions in the registry that meet a condition, page by page."""
    token = None
    while True:
        page = archive.tracking.client.search_model_versions(condition, page_token=token)
        yield from page
        if not (token := page.token):
            return


def make_champion(archive: Archive, version: RegisteredVersion) -> None:
    """Give a version the alias `champion`, taking it from the one that has it."""
    client = archive.tracking.client
    give = getattr(client, "make_champion", client.set_registered_model_alias)
    give(version.model, CHAMPION, version.number)


def tag_version(archive: Archive, version: RegisteredVersion, **tags: str) -> None:
    """Set tags of a version below our own prefix."""
    for name, value in tags.items():
        archive.tracking.client.set_model_version_tag(
            version.model, version.number, TAG + name, value[:5000]
        )


def _registry_name(model: str, where: str) -> tuple[str, str, str]:
    match = re.fullmatch(r"models:/([A-Za-z0-9._-]+)(?:(@)([\w.-]+)|(/)(\d+))", model)
    if match is None:
        raise InputError(
            "is not a registry name",
            f"{where} {model}",
            "write models:/NAME@ALIAS or models:/NAME/3",
        )
    return match[1], match[2] or match[4], match[3] or match[5]


def registered_versions(archive: Archive) -> list[str]:
    """Every version in the registry as `models:/NAME/VERSION`, oldest first."""
    return _named(_searched(archive))


def versions_of_run(archive: Archive, run_id: str) -> list[str]:
    """The versions that a run made, as `models:/NAME/VERSION`, oldest first."""
    found = _searched(archive, f"run_id='{run_id}'")
    return _named(one for one in found if one.run_id == run_id)


def _named(versions: Iterable[ModelVersion]) -> list[str]:
    ordered = sorted(versions, key=lambda one: (one.name, int(one.version)))
    return [f"{REGISTRY}{one.name}/{one.version}" for one in ordered]


def _be_candidate(client: MlflowClient, name: str, version: str) -> None:
    """Give a version the alias that its killed run could not, unless a newer one has it."""
    present = client.get_registered_model(name).aliases.get(CANDIDATE)
    if present is None or int(present) < int(version):
        client.set_registered_model_alias(name, CANDIDATE, version)


def register_version(
    archive: Archive,
    name: str,
    policy: PolicyRef,
    folder: Path,
    run_id: str,
    description: str,
    source: str = "",
    model_id: str | None = None,
    **tags: str,
) -> PolicyRef:
    """Register the policy in a folder as the next version of `name`, with the alias `candidate`.

    The weights stay where they are, in the logged model of the run that made them (`model_id`): in
    the folder, or at `source` where MLflow keeps them elsewhere. The digest of
    each file that defines the policy is kept with the version. `tags` are kept below our own
    prefix. A run that was cut off after it had registered the same weights registers nothing again.
    Returns the same policy under its registry name. Raises InputError where the files are no longer
    those of the policy.
    """
    from mlflow.exceptions import MlflowException

    files = archive.folders.files(folder)
    if fingerprint_of(files) != policy.digest:
        raise InputError(
            "these files have changed after they were measured",
            str(folder),
            "measure them again before they are registered",
        )
    client = archive.tracking.client
    for known in _searched(archive, f"name='{name}' and run_id='{run_id}'"):
        if (known.run_id, known.tags.get(f"{TAG}digest")) == (run_id, policy.digest):
            _be_candidate(client, name, known.version)
            return policy.model_copy(update={"name": f"{REGISTRY}{name}/{known.version}"})
    try:
        client.create_registered_model(name, description=ABOUT)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    kept = {"digest": policy.digest, "files": canonical_json(files)}
    version = client.create_model_version(
        name,
        source=source or folder.as_uri(),
        run_id=run_id,
        model_id=model_id,
        description=description,
        tags={f"{TAG}{tag}": value for tag, value in {**kept, **tags}.items()},
    )
    client.set_registered_model_alias(name, CANDIDATE, version.version)
    return policy.model_copy(update={"name": f"{REGISTRY}{name}/{version.version}"})
