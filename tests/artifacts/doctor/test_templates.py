"""A run's configuration and its template: told where they are not what it was measured with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from artifacts.doctor.examination import Examination, Found
from artifacts.doctor.templates import check_templates
from artifacts.prompts.template_file import as_yaml
from artifacts.registry.versions import register_version
from artifacts.store.data_dir import DataDir
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from policy.model.template import get_template
from schemas.own_template import OwnTemplate, WorkedExample
from tests.artifacts.measuring import evaluated, measure, policy_in

Look = Callable[[], Examination]
Repaired = Callable[[Iterable[Found]], list[str | None]]
OWN = OwnTemplate(
    name="brief",
    version=2,
    form="plain",
    instruction="{question}\nOne line.",
    examples=(WorkedExample(question="20 + 30?", answer="Final: 50"),),
    answer_tokens=5,
)
BUILT_IN = "few_shot_chat@1"


def run_with(archive: Archive, template: str | OwnTemplate) -> RunRecord:
    """A run that was measured with a template, and keeps it."""
    identity = get_template(template).identity
    return evaluated(archive, measure(archive.store, "rw", template=identity), template=template)


def names(found: Iterable[Found]) -> list[str]:
    return [one.finding.name for one in found]


@pytest.mark.parametrize("template", [OWN, BUILT_IN])
def test_a_template_that_was_changed_is_told_and_written_again(
    template: str | OwnTemplate, archive: Archive, look: Look, repaired: Repaired
) -> None:
    run = run_with(archive, template)
    kept = run.folder / "template.yaml"
    whole = kept.read_bytes()
    assert list(check_templates(look())) == []
    for content in (whole.replace(b"{question}", b"{question}."), b"no: [", b"\xff", b""):
        kept.write_bytes(content)
        found = list(check_templates(look()))
        assert names(found) == ["changed-template"]
        assert kept.read_bytes() == content, "looking changes nothing"
        words = f"set aside, written again from the configuration of run {run.name}"
        assert repaired(found) == [words]
        assert kept.read_bytes() == whole
        assert list(check_templates(look())) == []


def test_the_same_said_in_another_way_is_no_change(archive: Archive, look: Look) -> None:
    kept = run_with(archive, OWN).folder / "template.yaml"
    kept.write_text("# edited\n" + kept.read_text().partition("\n")[2])
    assert list(check_templates(look())) == []


def test_what_was_put_right_meanwhile_is_left(
    archive: Archive, look: Look, repaired: Repaired
) -> None:
    kept = run_with(archive, OWN).folder / "template.yaml"
    whole = kept.read_bytes()
    kept.write_bytes(b"x: 1")
    found = list(check_templates(look()))
    kept.write_bytes(whole)
    assert repaired(found) == [None]


def test_a_configuration_that_cannot_be_read_is_damage_and_nothing_is_made_up(
    archive: Archive, look: Look
) -> None:
    run = run_with(archive, OWN)
    (run.folder / "config.json").write_bytes(b"{")
    (run.folder / "template.yaml").write_bytes(b"x: 1")
    (found,) = check_templates(look())
    assert (found.finding.name, found.repair) == ("damaged-configuration", None)
    (run.folder / "config.json").unlink()
    assert names(check_templates(look())) == ["damaged-configuration"]


def test_a_built_in_template_of_another_version_of_the_program_is_not_judged(
    archive: Archive, look: Look
) -> None:
    measured = measure(archive.store, "rw", template=f"{BUILT_IN}:{'0' * 64}")
    kept = evaluated(archive, measured, template=BUILT_IN).folder / "template.yaml"
    kept.write_bytes(b"x: 1")
    assert list(check_templates(look())) == []


def test_the_template_of_a_version_is_its_runs(
    archive: Archive, look: Look, repaired: Repaired, data_dir: DataDir
) -> None:
    run, folder = run_with(archive, OWN), data_dir.run_artifacts / "made"
    policy = policy_in(archive, folder)
    register_version(archive, "mine", policy, folder, run.run_id, "a card")
    assert list(check_templates(look())) == [], "an earlier version of the program kept none"
    kept: Path = folder / "template.yaml"
    kept.write_text(as_yaml(get_template(BUILT_IN)))
    found = list(check_templates(look()))
    assert [(one.finding.name, one.finding.where) for one in found] == [
        ("changed-template", "mlartifacts/made/template.yaml")
    ]
    assert repaired(found) == [f"set aside, written again from the configuration of run {run.name}"]
    assert kept.read_text() == as_yaml(get_template(OWN))
