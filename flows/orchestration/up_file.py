"""How commands find a running `threeloops up`: a file that only this user may read."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from artifacts.store.atomic_file import write_atomic
from artifacts.store.data_dir import DataDir

UP_FILE = "up.json"
PREFECT_FILE = "up.toml"
OWN = "/threeloops/"  # the paths that `up` answers itself
PROOF, LINKS = f"{OWN}proof/", f"{OWN}links"


class Served(BaseModel):
    """Where a running `up` answers. The first address is for programs, which send the secret."""

    model_config = ConfigDict(frozen=True)

    prefect: str
    prefect_page: str
    mlflow: str
    secret: str

    @property
    def root(self) -> str:
        return self.prefect.removesuffix("/api")

    @property
    def headers(self) -> dict[str, str]:
        """What a program sends with every request."""
        return {"Authorization": f"Bearer {self.secret}"}

    def environment(self) -> dict[str, str]:
        """The settings with which Prefect's clients use this server, and name its page in links."""
        return {
            "PREFECT_API_URL": self.prefect,
            "PREFECT_UI_URL": self.prefect_page,
            # unlike Prefect's own password, these go with its websockets too
            "PREFECT_CLIENT_CUSTOM_HEADERS": json.dumps(self.headers),
        }


def write_up_file(data_dir: DataDir, served: Served) -> None:
    """Tell this user's commands, and Prefect's own, where the servers answer."""
    settings = "".join(f"{name} = '{value}'\n" for name, value in served.environment().items())
    # write_atomic makes files that nobody else may read
    write_atomic(prefect_file(data_dir), f'active = "up"\n\n[profiles.up]\n{settings}'.encode())
    write_atomic(data_dir.root / UP_FILE, served.model_dump_json().encode())


def remove_up_file(data_dir: DataDir) -> None:
    """Nobody is sent to servers that have gone."""
    for path in (data_dir.root / UP_FILE, prefect_file(data_dir)):
        path.unlink(missing_ok=True)


def prefect_file(data_dir: DataDir) -> Path:
    """The file of settings for Prefect's own command line, by PREFECT_PROFILES_PATH."""
    return data_dir.root / PREFECT_FILE


def read_up_file(data_dir: DataDir) -> Served | None:
    """What the file says; None where there is none, or it is damaged or of an older version."""
    try:
        return Served.model_validate_json((data_dir.root / UP_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def running(data_dir: DataDir) -> Served | None:
    """The `up` that runs on this data folder, once it has shown that it is the one of the file.

    A file may have outlived its `up`, and anybody may listen on its port by now. So the secret is
    sent to nobody who does not know it. Prefect's server behind it must be well, too.
    """
    served = read_up_file(data_dir)
    if served is None:
        return None
    question = secrets.token_hex(16)
    if ask(served, "GET", f"{PROOF}{question}", {}) != proof(served.secret, question):
        return None
    return served if ask(served, "GET", "/api/health", served.headers) is not None else None


def ask(served: Served, method: str, path: str, headers: Mapping[str, str]) -> str | None:
    """The text of an answer, None where there is none or it is an error."""
    import httpx  # most commands find no file and need no client

    try:
        # no proxy of the environment may come between
        with httpx.Client(trust_env=False, timeout=5) as client:
            answer = client.request(method, f"{served.root}{path}", headers=dict(headers))
        return answer.raise_for_status().text
    except (httpx.HTTPError, httpx.InvalidURL):
        return None


def new_links(served: Served) -> dict[str, str]:
    """One-time links of a running `up`, by what they open; none where it has just ended."""
    text = ask(served, "POST", LINKS, served.headers)
    found: dict[str, Any] = json.loads(text) if text else {}
    return {str(name): str(link) for name, link in found.items()}


def proof(secret: str, question: str) -> str:
    """What only a holder of the secret can answer to a question that was never asked before."""
    return hmac.new(secret.encode(), f"proof:{question}".encode(), hashlib.sha256).hexdigest()


def in_use(data_dir: DataDir) -> Served | None:
    """The `up` of this data folder, if the environment of this process names it."""
    served = read_up_file(data_dir)
    return served if served and served.prefect == os.environ.get("PREFECT_API_URL") else None
