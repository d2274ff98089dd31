"""A wheel, installed far from the clone: what is in it, and that `demo` and `up` run from it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

from policy.model.tiny import make_tiny_model
from tests.running_up import signed_in

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.untraced]

ROOT = Path(__file__).parents[2]
PACKAGES = ("threeloops", "flows", "tasks", "engines", "schemas", "artifacts", "scorers", "policy")
HERE = Path(sys.executable).parent
PATIENCE = 240.0


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel is built from, copied, so that no old build folder adds to it."""
    folder = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    run("pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, source)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A virtual environment with the wheel, which borrows every other package from this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv, work = folder / "venv", folder / "work"
    run("venv", "--without-pip", venv)
    work.mkdir()
    (packages,) = venv.glob("lib/python*/site-packages")
    # a folder named in a .pth file is searched last, and its own .pth files, such as that of the
    # clone, are not read
    borrowed = [path for path in sys.path if Path(path).name == "site-packages"]
    (packages / "borrowed.pth").write_text("\n".join(borrowed))
    inside = venv / "bin" / "python"
    run("pip", "--python", inside, "install", "--quiet", "--no-deps", "--ignore-installed", wheel)
    for name in ("prefect", "mlflow"):
        script = (HERE / name).read_text().splitlines(keepends=True)
        (venv / "bin" / name).write_text("".join([f"#!{inside}\n", *script[1:]]))
        (venv / "bin" / name).chmod(0o755)
    strange = ("PYTHONPATH", "PREFECT_", "COVERAGE_", "VIRTUAL_ENV")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(strange)}
    return kept | {
        "THREELOOPS_HOME": str(folder / "home"),
        "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PWD": str(work),
    }


def run(module: str, *words: str | Path) -> None:
    """A module of this environment as a program; its output is shown when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_the_wheel_holds_every_file_of_the_packages(source: Path, wheel: Path) -> None:
    expected = {
        str(path.relative_to(source))
        for name in PACKAGES
        for path in (source / name).rglob("*")
        if path.is_file() and not path.name.endswith(".pyc")
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        deployments = archive.read("flows/prefect.yaml")
    assert held == expected
    assert {f"{name}/py.typed" for name in PACKAGES} < held
    assert {"artifacts/report/page/report.html", "flows/cli/verbs/loops.py"} < held
    assert deployments == (ROOT / "prefect.yaml").read_bytes()


def test_the_packages_are_all_that_the_project_names() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert {name.removesuffix("*") for name in settings["packages"]["find"]["include"]} == {
        *PACKAGES
    }


def test_demo_runs_from_the_wheel(environment: dict[str, str], tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "tiny")
    work = environment["PWD"]
    where = "import flows, artifacts; print(flows.__file__, artifacts.__file__)"
    found = subprocess.run(
        ["python", "-c", where], env=environment, cwd=work, check=True, capture_output=True
    )
    venv = str(Path(work).parent / "venv")
    assert all(path.startswith(venv) for path in found.stdout.decode().split())
    words = ["demo", "--json", "--steps", "1", "--limit", "4", "--model", str(model)]
    done = subprocess.run(
        ["threeloops", *words], env=environment, cwd=work, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    result = json.loads(done.stdout.splitlines()[-1])
    pages = list(Path(environment["THREELOOPS_HOME"]).rglob("report.html"))
    assert pages, "page files came with the wheel"
    assert result


def test_up_serves_and_deploys_from_the_wheel(environment: dict[str, str]) -> None:
    home = Path(environment["THREELOOPS_HOME"])
    home.mkdir(exist_ok=True)
    record, log = home / "up.json", home / "up.log"
    ports = ["--prefect-port", free_port(), "--mlflow-port", free_port()]
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["threeloops", "up", *ports],
            env=environment,
            cwd=environment["PWD"],
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not record.exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        served = json.loads(record.read_text())
        with signed_in(served, "MLflow") as browser:
            assert browser.get("/").status_code == 200
        with signed_in(served, "Prefect") as browser:
            asked = browser.post("/api/deployments/filter", json={})
        deployed = {one["name"]: one for one in asked.json()}
        assert set(deployed) == {"nightly", "new-version", "best-of-n", "learn", "weekly"}
        (step,) = deployed["learn"]["pull_steps"]
        folder = Path(next(iter(step.values()))["directory"])
        assert folder.name == "site-packages"
        assert (folder / "flows" / "learning.py").exists()
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            process.kill()
    assert process.returncode == 0, log.read_text()


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
