"""What a learning run made becomes a model version: card, package, a place in the registry."""

from __future__ import annotations

from pathlib import Path

from artifacts.prompts.template_file import KEPT, as_yaml
from artifacts.registry.card import model_card, origin, readme
from artifacts.registry.packaging import package
from artifacts.registry.versions import register_version
from artifacts.store.atomic_file import write_atomic
from artifacts.text.numbers import nats, percent
from artifacts.tracking.logged_models import (
    finish_model,
    hand_over_model,
    model_folder,
    name_version,
)
from artifacts.tracking.run import TrackedRun
from policy.model.template import get_template
from schemas.config import LearningConfig
from schemas.measurements import Learned
from schemas.references import PolicyRef


def register_learned(
    run: TrackedRun, config: LearningConfig, learned: Learned, start_folder: Path
) -> PolicyRef:
    """Register the trained policy as the next version of `config.register_as`, the new `candidate`.

    Its weights stay where they were written, or are given to the MLflow that keeps its files
    elsewhere; those of the start lie in `start_folder`. Returns the same policy under its registry
    name.
    """
    archive = run.archive
    folder = model_folder(archive.tracking, run.reference)
    base, licence = origin(learned.start.name, start_folder)
    card = model_card(config, learned, base, licence, run_name=run.name)
    template = get_template(config.template)
    model_id = finish_model(run, step=learned.training.rows)
    write_atomic(folder / KEPT, as_yaml(template).encode())
    package(
        folder,
        base=base,
        run_id=run.run_id,
        model_id=model_id,
        card=readme(card, base, licence, config.register_as),
    )
    version = register_version(
        archive,
        config.register_as,
        learned.trained,
        folder,
        run.run_id,
        card,
        source=hand_over_model(archive.tracking, run.reference),
        model_id=model_id,
        base=base,
        licence=licence,
        template=template.identity,
        pass_rate_before=percent(learned.before.summary.pass_rate.value),
        pass_rate_after=percent(learned.after.summary.pass_rate.value),
        kl_nats=nats(learned.kl_nats.value),
    )
    number = version.name.rpartition("/")[2]
    name_version(archive.tracking, model_id, config.register_as, number)
    return version
