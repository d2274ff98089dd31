"""What a learning run made becomes a model version: card, package, a place in the registry."""

from __future__ import annotations

from pathlib import Path

from artifacts.registry.card import model_card, origin, readme
from artifacts.registry.packaging import package
from artifacts.registry.versions import register_version
from artifacts.text.numbers import nats, percent
from artifacts.tracking.logged_models import finish_model, name_version
from artifacts.tracking.run import TrackedRun
from schemas.config import LearningConfig
from schemas.measurements import Estimate, Measurement
from schemas.references import PolicyRef


def register_learned(
    run: TrackedRun,
    config: LearningConfig,
    start: PolicyRef,
    trained: PolicyRef,
    before: Measurement,
    after: Measurement,
    kl: Estimate,
) -> PolicyRef:
    """Register a saved policy as the next version of `config.register_as`, the new `candidate`.

    Returns the same policy under its registry name.
    """
    base, licence = origin(start)
    card = model_card(config, start, before, after, kl, run_name=run.name)
    model_id = finish_model(run, step=config.steps)
    package(
        Path(trained.folder),
        base=base,
        run_id=run.run_id,
        model_id=model_id,
        card=readme(card, start, config.register_as),
    )
    version = register_version(
        config.register_as,
        trained,
        run.run_id,
        card,
        base=base,
        licence=licence,
        pass_rate_before=percent(before.summary.pass_rate.value),
        pass_rate_after=percent(after.summary.pass_rate.value),
        kl_nats=nats(kl.value),
    )
    name_version(model_id, config.register_as, version.name.rpartition("/")[2])
    return version
