"""Prefect's settings for a run started by hand, and the servers that it finds."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from artifacts.store.data_dir import DataDir
from flows.orchestration import settings
from flows.orchestration.prefect_database import URL
from flows.orchestration.settings import configure_prefect, refuse_settings_here
from flows.orchestration.up_file import Served
from schemas.errors import InputError


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch) -> Served:
    """A running `threeloops up`."""
    served = Served(
        prefect="http://127.0.0.1:5555/api",
        prefect_page="http://n.localhost:4200",
        mlflow="http://n.localhost:5000",
        secret="s3cret",
    )
    monkeypatch.setattr(settings, "running", lambda data_dir: served)
    return served


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are written into a copy of the environment that has none of Prefect's."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith("PREFECT_")}
    monkeypatch.setattr(os, "environ", kept)


def test_prefect_lives_below_the_data_folder_and_says_little(data_dir: DataDir) -> None:
    configure_prefect(data_dir)
    assert os.environ["PREFECT_HOME"] == str(data_dir.prefect)
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert os.environ["PREFECT_LOGGING_LEVEL"] == "CRITICAL"
    assert "PREFECT_API_URL" not in os.environ, "there is no server to use"


def test_a_folder_of_prefects_that_the_user_named_keeps_its_own_database(data_dir: DataDir) -> None:
    os.environ["PREFECT_HOME"] = "/somewhere"
    configure_prefect(data_dir)
    assert URL not in os.environ


@pytest.mark.usefixtures("up")
def test_what_is_set_stays_and_is_never_sent_the_secret(data_dir: DataDir) -> None:
    os.environ["PREFECT_API_URL"] = "https://prefect.example/api"
    os.environ["PREFECT_LOGGING_LEVEL"] = "DEBUG"
    configure_prefect(data_dir)
    assert os.environ["PREFECT_API_URL"] == "https://prefect.example/api"
    assert os.environ["PREFECT_LOGGING_LEVEL"] == "DEBUG"
    assert not any("s3cret" in value for value in os.environ.values())


@pytest.mark.parametrize("named", [False, True])
def test_a_running_server_of_this_data_folder_is_used(
    data_dir: DataDir, up: Served, named: bool
) -> None:
    if named:
        os.environ["PREFECT_API_URL"] = up.prefect
    configure_prefect(data_dir)
    assert os.environ["PREFECT_API_URL"] == up.prefect
    assert os.environ["PREFECT_UI_URL"] == up.prefect_page
    headers = json.loads(os.environ["PREFECT_CLIENT_CUSTOM_HEADERS"])
    assert headers == {"Authorization": "Bearer s3cret"}


def test_a_damaged_record_does_not_stop_a_command(data_dir: DataDir) -> None:
    (data_dir.root / "up.json").write_text("{")
    configure_prefect(data_dir)
    assert "PREFECT_API_URL" not in os.environ


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("prefect.toml", '[logging]\nconfig_path = "evil.yml"\n'),
        ("pyproject.toml", '[tool.prefect.api]\nurl = "http://evil.example/api"\n'),
        ("pyproject.toml", "[tool.prefect"),
        (".env", "A=1\nexport prefect_api_url=http://evil.example/api\n"),
    ],
)
def test_settings_in_the_working_directory_are_refused(
    name: str,
    content: str,
    tmp_path: Path,
    data_dir: DataDir,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match="it has settings for Prefect") as caught:
        configure_prefect(data_dir)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("prefect.toml", ""),
        ("pyproject.toml", '[project]\nname = "prefect"\n[tool.ruff]\n'),
        (".env", "SECRET=1\n"),
    ],
)
def test_files_without_settings_for_prefect_are_of_no_interest(
    name: str, content: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    refuse_settings_here(tmp_path)
