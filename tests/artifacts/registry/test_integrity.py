"""A registered name means the files that were registered; altered ones are refused in one line."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from artifacts.registry.resolve import check_model_name, known_folder, resolve_policy
from artifacts.registry.versions import register_version, registered_version
from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import TAG
from schemas.errors import InputError
from schemas.references import PolicyRef

VERSION = "models:/mine/1"


@pytest.fixture
def folder(archive: Archive, tiny: str, tmp_path: Path) -> Path:
    """The folder of a registered version, whose digests are remembered."""
    folder = Path(shutil.copytree(tiny, tmp_path / "weights"))
    policy = PolicyRef(name="made", digest=archive.folders.digest(folder))
    register_version(archive, "mine", policy, folder, "", "")
    assert resolve_policy(archive, VERSION).digest == policy.digest
    return folder


def flip_one_byte(file: Path) -> None:
    """Alter a file as somebody would who hides it: same size, same times."""
    status, content = file.stat(), bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_it(file: Path) -> None:
    """Put another file of the same size and times in its place."""
    other = Path(shutil.copy2(file, file.parent.parent / "other"))
    flip_one_byte(other)
    other.rename(file)


@pytest.mark.parametrize("alter", [flip_one_byte, replace_it])
@pytest.mark.parametrize("resolve", [resolve_policy, known_folder])
@pytest.mark.parametrize("name", [VERSION, "models:/mine@candidate"])
def test_altered_weights_are_not_measured_under_the_registered_name(
    archive: Archive,
    folder: Path,
    alter: Callable[[Path], None],
    resolve: Callable[[Archive, str], object],
    name: str,
) -> None:
    alter(folder / "model.safetensors")
    check_model_name(archive, name)
    with pytest.raises(InputError) as caught:
        resolve(archive, name)
    line = str(caught.value)
    assert line.startswith(f"--model {name}: ")
    assert re.search(r"expected [0-9a-f]{12}, found [0-9a-f]{12}", line)
    assert str(folder / "model.safetensors") in line
    assert "put back" in line
    assert "\n" not in line


def test_another_process_sees_it_too(archive: Archive, folder: Path) -> None:
    flip_one_byte(folder / "tokenizer.json")
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        resolve_policy(Archive(archive.data_dir), VERSION)


def test_a_file_more_or_less_is_named(archive: Archive, folder: Path) -> None:
    (folder / "added_tokens.json").write_text("{}")
    with pytest.raises(InputError, match=r"added_tokens\.json .*expected none, found"):
        resolve_policy(archive, VERSION)
    (folder / "added_tokens.json").unlink()
    (folder / "generation_config.json").unlink()
    with pytest.raises(InputError, match=r"generation_config\.json .*found none"):
        resolve_policy(archive, VERSION)


def test_what_decides_nothing_may_change(archive: Archive, folder: Path) -> None:
    (folder / "README.md").write_text("a better card")
    assert resolve_policy(archive, VERSION).name == VERSION


def test_the_files_put_back_are_the_version_again(archive: Archive, folder: Path) -> None:
    weights = folder / "model.safetensors"
    before = resolve_policy(archive, VERSION)
    for _ in range(2):
        flip_one_byte(weights)
    assert resolve_policy(archive, VERSION) == before


def test_a_version_that_names_no_files_is_checked_as_a_whole(
    archive: Archive, folder: Path
) -> None:
    archive.tracking.client.delete_model_version_tag("mine", "1", f"{TAG}files")
    assert resolve_policy(archive, VERSION).name == VERSION
    flip_one_byte(folder / "model.safetensors")
    with pytest.raises(InputError, match="expected [0-9a-f]{12}, found [0-9a-f]{12}"):
        resolve_policy(archive, VERSION)


def test_a_version_without_a_digest_is_taken_and_it_is_said(archive: Archive, folder: Path) -> None:
    for tag in ("files", "digest"):
        archive.tracking.client.delete_model_version_tag("mine", "1", f"{TAG}{tag}")
    flip_one_byte(folder / "model.safetensors")
    said: list[str] = []
    assert resolve_policy(archive, VERSION, said.append).name == VERSION
    (line,) = said
    assert line.startswith(f"warning: {VERSION} was registered without digests")


def test_what_is_registered_is_what_was_measured(archive: Archive, folder: Path) -> None:
    policy = registered_version(archive, VERSION)
    flip_one_byte(folder / "model.safetensors")
    made = PolicyRef(name="made", digest=policy.digest)
    with pytest.raises(InputError, match="changed after they were measured"):
        register_version(archive, "mine", made, folder, "", "")
