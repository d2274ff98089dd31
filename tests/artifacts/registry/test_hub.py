"""A model of the hub is there whole or not at all, whatever happens while it is fetched."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from artifacts.registry.hub import from_hub, hub_folder, is_fetched
from policy.model.load import check_folder, fingerprint
from schemas.errors import InputError

MODEL = "owner/model"
CUT = 3  # files that come before the first cut
# a hub that gives one file each 0.2 s, and writes down which
SLOW_HUB = """
import shutil, sys, time, types
from pathlib import Path
import huggingface_hub
from artifacts.registry.hub import from_hub
tiny, models, given = map(Path, sys.argv[1:])

def download(model, *, revision, allow_patterns, local_dir):
    for file in sorted(tiny.iterdir()):
        if not (local_dir / file.name).exists():
            shutil.copy(file, local_dir)
            with given.open("a") as log:
                log.write(file.name + "\\n")
            time.sleep(0.2)

huggingface_hub.model_info = lambda model, timeout: types.SimpleNamespace(sha="c1")
huggingface_hub.snapshot_download = download
print(from_hub(models, "owner/model", lambda line: print(line, flush=True)))
"""


class Hub:
    """A hub with the tiny model, which may fail after some files, or not answer at all."""

    def __init__(self, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tiny, self.given = tiny, list[str]()
        self.commit: str | None = "c1"
        self.cut: int | None = None
        monkeypatch.setattr("huggingface_hub.model_info", self.info)
        monkeypatch.setattr("huggingface_hub.snapshot_download", self.download)

    def info(self, model: str, timeout: float) -> SimpleNamespace:
        if self.commit is None:
            raise ConnectionError("no network")
        return SimpleNamespace(sha=self.commit)

    def download(
        self, model: str, *, revision: str, allow_patterns: list[str], local_dir: Path
    ) -> str:
        (local_dir / ".cache" / "huggingface").mkdir(parents=True, exist_ok=True)
        for number, file in enumerate(sorted(self.tiny.iterdir())):
            if number == self.cut:
                raise TimeoutError("the hub went away")
            if not (local_dir / file.name).exists():
                shutil.copy(file, local_dir)
                self.given.append(file.name)
        return str(local_dir)


@pytest.fixture
def hub(tiny: str, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The hub instead of the real one."""
    return Hub(Path(tiny), monkeypatch)


def fetch(models: Path) -> Path:
    return from_hub(models, MODEL, lambda line: None)


def test_a_fetch_that_fails_leaves_nothing_in_the_model_s_place(
    hub: Hub, tiny: str, tmp_path: Path
) -> None:
    hub.cut = CUT
    with pytest.raises(InputError, match=r"--model owner/model: could not be fetched"):
        fetch(tmp_path)
    folder = hub_folder(tmp_path, MODEL)
    assert not folder.exists()
    assert not is_fetched(folder)
    assert len(hub.given) == CUT
    hub.cut = None
    assert fetch(tmp_path) == folder
    assert hub.given == sorted(path.name for path in Path(tiny).iterdir()), "it goes on"
    assert fingerprint(folder) == fingerprint(Path(tiny))
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]
    assert not list(folder.glob(".*")), "nothing of the fetch is left in it"


def test_what_was_fetched_is_not_taken_for_whole_where_there_is_no_network(
    hub: Hub, tmp_path: Path
) -> None:
    """The hub's client would take the files that are there for all of them."""
    hub.cut = CUT
    with pytest.raises(InputError):
        fetch(tmp_path)
    hub.commit, hub.cut = None, 0
    with pytest.raises(InputError, match="could not be fetched"):
        fetch(tmp_path)
    assert not hub_folder(tmp_path, MODEL).exists()


def test_files_of_two_commits_are_never_mixed(hub: Hub, tiny: str, tmp_path: Path) -> None:
    hub.cut = CUT
    with pytest.raises(InputError):
        fetch(tmp_path)
    hub.commit, hub.cut = "c2", None
    fetch(tmp_path)
    assert len(hub.given) == CUT + len(list(Path(tiny).iterdir()))


def test_a_part_that_an_earlier_version_left_in_its_place_is_completed(
    hub: Hub, tiny: str, tmp_path: Path
) -> None:
    folder = hub_folder(tmp_path, MODEL)
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    shutil.copy(Path(tiny) / "config.json", folder)
    assert not is_fetched(folder)
    fetch(tmp_path)
    assert "config.json" not in hub.given
    assert fingerprint(folder) == fingerprint(Path(tiny))


def test_a_whole_model_of_an_earlier_version_needs_no_hub(
    hub: Hub, tiny: str, tmp_path: Path
) -> None:
    folder = hub_folder(tmp_path, MODEL)
    shutil.copytree(tiny, folder)
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    hub.commit = None
    assert fetch(tmp_path) == folder
    (folder / ".cache" / "huggingface" / "a.incomplete").touch()
    assert not is_fetched(folder)


@pytest.fixture
def slow(tiny: str, tmp_path: Path) -> Callable[[], subprocess.Popen[str]]:
    """Start a process that fetches from a slow hub."""
    arguments = (tiny, str(tmp_path / "models"), str(tmp_path / "given"))

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", SLOW_HUB, *arguments], stdout=subprocess.PIPE, text=True
        )

    return start


def test_of_two_processes_one_fetches_and_the_other_waits(
    slow: Callable[[], subprocess.Popen[str]], tiny: str, tmp_path: Path
) -> None:
    both = [slow(), slow()]
    said = [process.communicate(timeout=120)[0].splitlines() for process in both]
    folder = hub_folder(tmp_path / "models", MODEL)
    assert [lines[-1] for lines in said] == [str(folder)] * 2
    assert sum("fetching owner/model from the hub" in lines for lines in said) == 1
    given = (tmp_path / "given").read_text().splitlines()
    assert given == sorted(path.name for path in Path(tiny).iterdir())
    check_folder(folder)


def test_a_fetch_that_was_killed_is_gone_on_with(
    slow: Callable[[], subprocess.Popen[str]], tiny: str, tmp_path: Path
) -> None:
    given, folder = tmp_path / "given", hub_folder(tmp_path / "models", MODEL)
    killed = slow()
    deadline = time.monotonic() + 100
    while not given.exists() or len(given.read_text().splitlines()) < CUT:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not folder.exists()
    slow().communicate(timeout=120)
    assert fingerprint(folder) == fingerprint(Path(tiny))
    names = given.read_text().splitlines()
    assert len(names) == len(set(names)), "what was there is not fetched again"
