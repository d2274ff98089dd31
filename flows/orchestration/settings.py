"""Prefect's settings for a run started by hand: its own folder, a patient start, few words."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from artifacts.store.data_dir import DataDir
from flows.orchestration.prefect_database import URL, database_url
from flows.orchestration.up_file import running
from schemas.errors import InputError

# a command does not ask a server that died for a minute, or one that is frozen for five; what it
# says of that is one line, without a log record for each event that was lost
HASTE = {
    "PREFECT_CLIENT_MAX_RETRIES": "2",
    "PREFECT_API_REQUEST_TIMEOUT": "20",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
}


def configure_prefect(data_dir: DataDir, *, patient: bool = False) -> None:
    """Set what is not set: Prefect's folder below ours, no telemetry, a long start, quiet logs.

    It has to be called before prefect is imported.

    With `threeloops up` running on this data folder, its server is used; with PREFECT_API_URL set,
    that one. The secret of `up` is for its own address alone. With `patient`, which is for servers
    and workers, Prefect's client waits as long as it does by itself. Raises InputError for a file
    in the working directory that Prefect would obey.
    """
    refuse_settings_here(Path())
    served = running(data_dir)
    if served and os.environ.get("PREFECT_API_URL", served.prefect) == served.prefect:
        os.environ.update(served.environment())
    defaults = {
        "PREFECT_HOME": str(data_dir.prefect),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "DO_NOT_TRACK": "1",
    }
    if "PREFECT_HOME" not in os.environ:  # a folder that the user named has a database of its own
        defaults[URL] = database_url(data_dir.prefect / "prefect.db")
    defaults |= {} if patient else HASTE
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def refuse_settings_here(folder: Path) -> None:
    """InputError for a file in a folder from which Prefect would take settings.

    Prefect obeys such files in the working directory, which may be a downloaded folder. They can
    name another server, or a configuration of logging that runs any code.
    """
    for name, holds in SETTINGS_FILES.items():
        file = folder / name
        if file.is_file() and holds(file.read_text(encoding="utf-8", errors="replace")):
            raise InputError(
                "it has settings for Prefect, which may run any code, so nothing is started here",
                str(file.absolute()),
                "give your own settings as environment variables, or go to another folder",
            )


def _in_toml(text: str) -> bool:
    try:
        return "prefect" in tomllib.loads(text).get("tool", {})
    except tomllib.TOMLDecodeError:
        return "prefect" in text  # Prefect says what is wrong with it


SETTINGS_FILES: Mapping[str, Callable[[str], bool]] = {
    "prefect.toml": bool,
    "pyproject.toml": _in_toml,
    ".env": lambda text: "PREFECT" in text.upper(),
}
