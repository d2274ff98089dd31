"""Whatever a reader is given, it answers or refuses in one line: the short form of `make fuzz`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.readers.models import import_libraries
from tests.fuzz.room import Room
from tests.fuzz.targets import TARGETS, Target

pytestmark = pytest.mark.slow
KEPT = [(target, path) for target in TARGETS.values() for path in target.kept]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory, tiny: str, empty_database: Path) -> Room:
    """One folder for all inputs."""
    made = Room(tmp_path_factory.mktemp("fuzz"), Path(tiny), empty_database)
    import_libraries(made)
    return made


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_nearly_right_input_is_read_or_refused(target: Target, room: Room) -> None:
    tried = settings(
        max_examples=target.few,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )

    def one(content: bytes) -> None:
        target.run(content, room)

    tried(given(target.inputs())(one))()


@pytest.mark.parametrize(
    ("target", "path"), KEPT, ids=[f"{target.name}-{path.name}" for target, path in KEPT]
)
def test_an_input_that_is_kept_is_read_or_refused(target: Target, path: Path, room: Room) -> None:
    target.run(path.read_bytes(), room)
