"""Whether a learning run that ended early may be resumed, and with which settings."""

from __future__ import annotations

import contextlib
from typing import Any

from artifacts.prompts.template_file import names_file
from artifacts.store.checkpoints import newest_checkpoint
from artifacts.store.process import this_process
from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import NEWEST_STEP
from artifacts.tracking.history import History, RunRecord
from policy.model.load import resolve_device
from policy.model.template import get_template
from schemas.config import LearningConfig
from schemas.errors import InputError, ThreeLoopsError
from schemas.loops import LEARNING
from schemas.own_template import OwnTemplate
from schemas.references import TableRef

# where a run stops changes no step before it
MAY_CHANGE = ("max_kl_nats", "max_minutes")


def resumable(archive: Archive, name: str) -> RunRecord:
    """The learning run with this id or name; InputError unless it ended early at a checkpoint."""
    run = archive.history.find(name)
    if run.loop is not LEARNING:
        raise InputError("is not a learning run", f"--resume {name}")
    if run.status == "FINISHED":
        raise InputError(
            f"the run has finished{_by_time(run)}",
            f"--resume {name}",
            f"learn from its model version{_named(run)}",
        )
    newest_checkpoint(archive.data_dir, run.run_id, shared=archive.shared)
    return run


def how_to_go_on(archive: Archive) -> str:
    """What to do after the learning run of this process was stopped, in words."""
    run: RunRecord | None = None
    with contextlib.suppress(ThreeLoopsError):
        owned = archive.history.written_by(this_process())
        run = next((one for one in owned if one.loop is LEARNING), None)
        if run is not None:
            newest_checkpoint(archive.data_dir, run.run_id, shared=archive.shared)
            return f"go on with: threeloops learn --resume {run.name}"
    return (
        "there is no checkpoint yet (--checkpoint-every): run the same command again, which takes "
        "over what was measured"
    )


def settings_of(run: RunRecord) -> LearningConfig:
    """The configuration that a learning run was started or last resumed with."""
    config = run.config(LearningConfig)
    if "precision" in config.model_fields_set or resolve_device(config.device).type != "cpu":
        return config
    # a version before this one computed in float32 on every CPU
    return config.model_copy(update={"precision": "float32"})


def as_kept(run: RunRecord, config: LearningConfig) -> LearningConfig:
    """The configuration with what a run has kept in place of what may have changed since.

    That is the template where it is a file, which may have been edited or be gone, and the
    precision where the processor decides it.
    """
    kept = settings_of(run)
    if names_file(config.template) and isinstance(kept.template, OwnTemplate):
        config = config.model_copy(update={"template": kept.template})
    if config.precision == "auto":
        config = config.model_copy(update={"precision": kept.precision})
    return config


def refuse_other_settings(run: RunRecord, config: LearningConfig) -> None:
    """InputError for the first setting that differs from the run's, but for where it stops."""
    before, now = _compared(settings_of(run)), _compared(config)
    for name in before | now:  # a setting that was left out is False or None
        if name not in MAY_CHANGE and before.get(name) != now.get(name):
            raise InputError(
                f"a resumed run goes on as it was set, with {name} {before.get(name)!r}",
                f"{name} {now.get(name)!r} with resume {run.name}",
                "give the run's own configuration",
            )


def _by_time(run: RunRecord) -> str:
    return f", ended by its time limit after {made}" if (made := run.tags.get("steps_made")) else ""


def _named(run: RunRecord) -> str:
    return f": --model {name}" if (name := run.tags.get("registered")) else ""


def _compared(config: LearningConfig) -> dict[str, Any]:
    """Settings by name; a template of a file in a word, which its digest tells from others."""
    template = config.template
    if isinstance(template, OwnTemplate):
        template = get_template(template).identity
    return config.model_dump() | {"template": template}


def made_steps(archive: Archive, run_id: str) -> dict[int, TableRef]:
    """The tables of the steps that a run made before it ended, as far back as they are whole."""
    newest = archive.history.find(run_id).tags.get(NEWEST_STEP)
    if newest is None:
        return {}
    return archive.steps.tables(TableRef(kind="step", digest=newest, rows=0))


def finished_stage(history: History, run_id: str, stage: str, digest: str) -> RunRecord | None:
    """The measurement of this policy that a run finished at a stage before it was cut off."""
    return next(
        (
            run
            for run in history.parts_of(run_id)
            if (run.stage, run.status) == (stage, "FINISHED")
            and run.tags.get("model_digest") == digest
        ),
        None,
    )
