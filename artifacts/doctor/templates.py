"""The configuration that each run keeps, and the prompt template in it and beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from artifacts.doctor.examination import Examination, Found, Repair
from artifacts.doctor.recorded import RecordedRun
from artifacts.doctor.runs import object_in
from artifacts.doctor.set_aside import SetAside
from artifacts.prompts.template_file import KEPT, MOST_BYTES, as_yaml
from artifacts.store.atomic_file import write_atomic
from artifacts.tracking.connection import CONFIG_FILE
from policy.model.template import PromptTemplate, get_template
from schemas.errors import InputError
from schemas.own_template import OwnTemplate
from schemas.plain_yaml import text_of, yaml_mapping

OF_THE_INSTRUMENT = "instrument.prompt_template"


def check_templates(at: Examination) -> Iterator[Found]:
    """Whether a run's template can be read, and is the one of its instrument; a version's too.

    Replayed completions were made with another run's template, so such a run keeps none.
    """
    if at.recorded is None:
        return
    for run in at.recorded.runs.values():
        if run.deleted or run.goes_on or OF_THE_INSTRUMENT not in run.tags:
            continue
        path = run.folder / CONFIG_FILE
        if object_in(path) is None and not at.may_be_written(run.run_id):
            yield at.found("damaged-configuration", path, f"of run {run.name}, cannot be read")
        yield from _check_kept(at, run, run.folder / KEPT)
    for version in at.recorded.versions.values():
        if (made_by := at.recorded.runs.get(version.run_id)) is not None:
            yield from _check_kept(at, made_by, version.folder / KEPT)


def _check_kept(at: Examination, run: RecordedRun, path: Path) -> Iterator[Found]:
    template = _template_of(run)
    if template is None or _is(template, path) or at.may_be_written(run.run_id):
        return

    def repair(aside: SetAside) -> str | None:
        if _is(template, path) or at.may_be_written(run.run_id):
            return None
        done = aside.move(path)
        write_atomic(path, as_yaml(template).encode())
        return f"{done}, written again from the configuration of run {run.name}"

    what = f"it is not {template.said}, which run {run.name} showed to the model"
    yield at.found("changed-template", path, what, Repair(repair))


def _template_of(run: RecordedRun) -> PromptTemplate | None:
    """The template of a run's configuration, if it is the one of its instrument.

    A built-in one may be another in another version of the program.
    """
    said = (object_in(run.folder / CONFIG_FILE) or {}).get("template")
    try:
        template = get_template(said if isinstance(said, str) else OwnTemplate.model_validate(said))
    except (InputError, ValidationError):
        return None
    return template if template.identity == run.tags.get(OF_THE_INSTRUMENT) else None


def _is(template: PromptTemplate, path: Path) -> bool:
    """Whether a file says what a template says; one that is not there says nothing else."""
    if not path.exists():
        return True
    try:
        found = yaml_mapping(text_of(path, MOST_BYTES, "a template"), str(path))
        return OwnTemplate.model_validate(found) == template.written()
    except (InputError, ValidationError):
        return False
