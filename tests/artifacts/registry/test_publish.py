"""What a learning run made is registered where it lies, with a card of both measurements."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from artifacts.registry.publish import register_learned
from artifacts.registry.resolve import resolve_policy
from artifacts.registry.versions import registered_version
from artifacts.tracking.archive import Archive
from artifacts.tracking.logged_models import VERSIONS, known_model, model_folder, name_digest
from artifacts.tracking.run import Place, TrackedRun, tracked_run
from policy.model.template import get_template
from schemas.config import LearningConfig
from schemas.loops import LEARNING
from schemas.measurements import Estimate, Learned
from schemas.references import PolicyRef
from tests.artifacts.measuring import measure, training_table


def made_by(run: TrackedRun, start: PolicyRef) -> Learned:
    """What a run made of a policy: a copy of it whose tokenizer has another configuration."""
    archive, store = run.archive, run.archive.store
    folder = model_folder(archive.tracking, run.reference)
    shutil.copytree(archive.folders.find(start), folder, dirs_exist_ok=True)
    (folder / "added_tokens.json").write_text("{}")
    trained = PolicyRef(name=run.name, digest=archive.folders.digest(folder))
    name_digest(run, trained)
    before = measure(store, "rw", policy=start)
    return Learned(
        start=start,
        trained=trained,
        before=before,
        after=measure(store, "rr", policy=trained),
        kl_nats=Estimate(value=0.25, low=0.1, high=0.4, problems=1, completions=2),
        training=training_table(store, before),
        dev=(),
        wall_seconds=1.0,
        seconds_per_step=1.0,
    )


def test_the_version_has_card_package_tags_and_a_logged_model(
    archive: Archive, tiny: str, tmp_path: Path
) -> None:
    base, config = tmp_path / "base", LearningConfig(register_as="mine", steps=1)
    shutil.copytree(tiny, base)
    (base / "README.md").write_text("---\nlicense: mit\n---\n")
    with tracked_run(archive, LEARNING, config, Place()) as run:
        learned = made_by(run, resolve_policy(archive, str(base)))
        made = register_learned(run, config, learned, base)

    assert made == PolicyRef(name="models:/mine/1", digest=learned.trained.digest)
    version = registered_version(archive, "models:/mine@candidate")
    assert (version.number, version.digest, version.run_id) == ("1", made.digest, run.run_id)
    assert version.folder == archive.folders.find(made)
    assert version.intact()
    assert (version.folder / "MLmodel").is_file()

    kept = archive.tracking.client.get_model_version("mine", "1")
    readme = (version.folder / "README.md").read_text()
    assert readme.endswith(f"# mine\n\n{kept.description}\n")
    assert json.loads(kept.tags.pop("threeloops.files")) == archive.folders.files(version.folder)
    assert {name.removeprefix("threeloops."): value for name, value in kept.tags.items()} == {
        "digest": made.digest,
        "base": str(base),
        "licence": "mit",
        "template": get_template(LearningConfig().template).identity,
        "pass_rate_before": "50 %",
        "pass_rate_after": "100 %",
        "kl_nats": "0.25",
    }
    model_id = known_model(archive.tracking, made.digest)
    assert model_id is not None
    shown = archive.tracking.client.get_logged_model(model_id).tags[VERSIONS]
    assert json.loads(shown) == [{"name": "mine", "version": "1"}]
