"""Every package that is imported is declared, and every declared pin is in the locks."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from scripts.kept_pins import kept, package

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text()
PROJECT = tomllib.loads(PYPROJECT)["project"]
EXTRAS = PROJECT["optional-dependencies"]
ROOMS = ("threeloops", "flows", "tasks", "engines", "artifacts", "policy", "scorers", "schemas")
OURS = {*ROOMS, "bench", "scripts", "tests"}
# what provides a module of another name, which only an installed package says itself
PROVIDERS = {"psycopg2": ["psycopg2-binary"]}
WITH_EXTRAS = ("dask", "gym", "math", "ray", "server", "store")


def imported(folder: str) -> Iterator[tuple[str, str]]:
    """Each package from elsewhere that a folder imports, wherever in a module, with the place.

    What made the samples of other programs runs in environments of theirs.
    """
    for path in sorted((ROOT / folder).rglob("*.py")):
        if path.is_relative_to(ROOT / "tests/data"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            for name in (name.partition(".")[0] for name in names):
                if name not in sys.stdlib_module_names | OURS:
                    yield name, str(path.relative_to(ROOT))


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        *((room, [*WITH_EXTRAS, "mlflow-server"]) for room in ROOMS),
        ("bench", ["bench"]),
        ("deploy", ["dask", "slurm"]),
        ("scripts", ["dev"]),
        ("tests", [*WITH_EXTRAS, "dev", "engines", "mlflow-server", "fuzz"]),
    ],
)
def test_what_a_folder_imports_is_declared(folder: str, extras: list[str]) -> None:
    declared = {
        package(text)
        for group in (PROJECT["dependencies"], *(EXTRAS[extra] for extra in extras))
        for text in group
    }
    providers = {**PROVIDERS, **packages_distributions()}
    undeclared = [
        f"{place} imports {name}"
        for name, place in imported(folder)
        if not {package(one) for one in providers.get(name, [name])} & declared
    ]
    assert not undeclared


@pytest.mark.parametrize("module", PROVIDERS)
def test_a_module_of_another_name_is_provided_by_what_is_said_here(module: str) -> None:
    installed = packages_distributions()
    if module not in installed:
        pytest.skip(f"{module} is not installed")
    assert {package(one) for one in installed[module]} == set(PROVIDERS[module])


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        ("requirements.lock", ["dev", "gym", "math", "server", "store"]),
        ("requirements-bench.lock", ["bench"]),
    ],
)
def test_a_lock_holds_every_declared_pin(lock: str, extras: list[str]) -> None:
    pins = (ROOT / lock).read_text().splitlines()[1:]
    locked = {package(line): line.split(";")[0].split("==")[1].strip() for line in pins}
    for group in (PROJECT["dependencies"], *(EXTRAS[extra] for extra in extras)):
        for text in group:
            if "==" in text:
                assert locked[package(text)] == text.split("==")[1], text


def test_the_makefile_takes_the_pythons_of_the_project() -> None:
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()  # type: ignore[union-attr]
    makefile = (ROOT / "Makefile").read_text()
    assert f"(3, {low}) <= v < (3, {high})" in makefile
    assert f"needs Python 3.{low} to 3.{int(high) - 1}," in makefile


def test_the_makefile_installs_the_fuzzer_that_is_declared() -> None:
    (declared,) = EXTRAS["fuzz"]
    assert f"ATHERIS := {declared}\n" in (ROOT / "Makefile").read_text()


def test_pins_that_bind_are_those_the_project_does_not_set(tmp_path: Path) -> None:
    first, second = tmp_path / "first.lock", tmp_path / "second.lock"
    first.write_text("# a note\nSix==1.0\nnumpy==1.0\nonly_new==3 ; python_version >= '3.13'\n")
    second.write_text("six==2.0\nzipp==4.0\n")
    found = kept([first, tmp_path / "absent.lock", second], PYPROJECT)
    assert found == ["Six==1.0", "only_new==3 ; python_version >= '3.13'", "zipp==4.0"]
