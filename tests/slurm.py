"""A real Slurm of Debian's packages on loopback for tests: one node with two CPUs, as root."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.mlflow_server import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch")
PATIENCE = 180.0
SYSTEM = "/usr/sbin:/sbin"  # where Debian has what only root starts
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=10
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Why no Slurm can be started here; nothing where it can."""
    if missing := [name for name in PROGRAMS if not program(name)]:
        packages = "apt-get install slurmctld slurmd slurm-client munge"
        return f"there is no {', '.join(missing)} here: {packages}"
    if os.geteuid():
        return "a node of Slurm is started by root"
    try:
        socket.gethostbyname(socket.gethostname())
    except OSError:
        return "the name of this machine has no address"
    return ""


def program(name: str) -> str | None:
    """Where a program is."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), SYSTEM)))


class Slurm:
    """A cluster that runs; `environment` is what its commands are told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        here = str(Path(sys.executable).parent)
        self.environment = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": os.pathsep.join((here, os.environ.get("PATH", ""), SYSTEM)),
        }

    def say(self, *words: str) -> str:
        """What one of Slurm's commands prints; nothing where it fails."""
        done = subprocess.run(
            words,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    def jobs(self) -> list[str]:
        """The numbers of jobs that wait, run or are about to end."""
        return self.say("squeue", "--noheader", "--format", "%i").split()

    def wait(self, state: str) -> None:
        """Wait until the node is in a state."""
        until = time.monotonic() + PATIENCE
        while self.say("sinfo", "--noheader", "--format", "%T") != state:
            logs = "\n".join(log.read_text()[-2000:] for log in self.folder.glob("*.log"))
            assert time.monotonic() < until, f"the node of Slurm is not {state}:\n{logs}"
            time.sleep(0.2)


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """Munge, controller and node with all files in a folder; nothing outlives the block."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    ports = {"port": free_port(), "node_port": free_port()}
    host = socket.gethostname().partition(".")[0]
    text = CONFIGURATION.format(folder=folder, host=host, **ports)
    (folder / "slurm.conf").write_text(text)
    made = Slurm(folder)
    parts = [("socket", "socket"), ("pid-file", "pid"), ("log-file", "own.log")]
    parts += [("seed-file", "seed"), ("key-file", "key")]
    munge = [f"--{option}={folder}/munge.{name}" for option, name in parts]
    started: list[subprocess.Popen[bytes]] = []
    try:
        # tests have their folders below /tmp, which munge warns of
        started.append(_start(["munged", "--foreground", "--force", *munge], made.environment))
        _until_there(folder / "munge.socket")
        for name in ("slurmctld", "slurmd"):
            log = str(folder / f"{name}.log")
            started.append(_start([name, "-D", "-L", log], made.environment))
        made.wait("idle")
        yield made
    finally:
        _end_jobs(made)
        for process in reversed(started):
            process.terminate()
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()


def _end_jobs(made: Slurm) -> None:
    """A node that ends leaves its jobs alone, so they are ended first."""
    until = time.monotonic() + PATIENCE
    while (jobs := made.jobs()) and time.monotonic() < until:
        made.say("scancel", *jobs)
        time.sleep(0.5)


def _start(words: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    command = [program(words[0]) or words[0], *words[1:]]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=quiet, stderr=quiet, stdin=quiet
    )


def _until_there(path: Path) -> None:
    until = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < until, f"{path} is not there"
        time.sleep(0.1)
