"""A real Postgres on loopback for tests: Debian's, with a database of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mlflow_server import free_port

USER = "threeloops"
PASSWORD = "canary-of-postgres"
NAME = "mlflow"
# it refuses to run as root
ANOTHER = "postgres"


def program(name: str) -> str:
    """One of its programs, which Debian keeps apart from others."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    path = str(found[-1]) if found else shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"there is no {name}; install postgresql")
    return path


@contextmanager
def postgres() -> Iterator[str]:
    """A server that runs in the block; the address of its database, with a password in it."""
    # not below pytest's folder, which another user may not enter
    folder = Path(tempfile.mkdtemp(prefix="threeloops-postgres-"))
    data, port = folder / "data", free_port()
    (folder / "password").write_text(PASSWORD)
    before: list[str] = []
    if os.getuid() == 0:
        account = pwd.getpwnam(ANOTHER)
        for path in (folder, folder / "password"):
            os.chown(path, account.pw_uid, account.pw_gid)
        before = ["runuser", "-u", ANOTHER, "--"]

    def run(*words: str) -> None:
        subprocess.run([*before, *words], cwd=folder, check=True, capture_output=True, timeout=300)

    try:
        run(
            program("initdb"), "-D", str(data), "-U", USER, "--auth=scram-sha-256",
            f"--pwfile={folder / 'password'}", "--no-sync",
        )  # fmt: skip
        settings = f"-p {port} -k {folder} -h 127.0.0.1 -F"
        run(
            program("pg_ctl"), "-D", str(data), "-w", "-t", "120", "-o", settings,
            "-l", str(folder / "log"), "start",
        )  # fmt: skip
        try:
            address = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}"
            run(program("psql"), f"{address}/postgres", "-c", f"create database {NAME}")
            yield f"{address}/{NAME}"
        finally:
            run(program("pg_ctl"), "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
