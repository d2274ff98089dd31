"""Task serve-adapter: a server loads the adapter of a policy in the middle of learning."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from artifacts.store.data_dir import DataDir
from policy.learning.checkpoint import trainable
from policy.model.adapter_files import write_adapter
from schemas.config import LearningConfig
from schemas.files import of_user
from schemas.references import PolicyRef, RunRef
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.runtime import process_runtime


@pipeline_task("serve-adapter", "serve the adapter after step {policy.step}")
def serve_adapter(
    policy: PolicyRef, learner_at: PolicyRef, run: RunRef, config: LearningConfig
) -> None:
    """Write the adapter of a policy and have the server load it.

    The learner has reached `learner_at`, which is the policy itself or one that came of it. Each
    adapter has a folder of its own. Raises InputError where the server does not load it.
    """
    runtime = process_runtime()
    assert config.server is not None
    folder = adapters_folder(runtime.data_dir, config, run) / f"step-{policy.step:06d}"
    learner = runtime.models.learner(learner_at)
    weights = trainable(learner.policy.model)
    write_adapter(
        weights
        if policy.step == learner_at.step or learner.recent is None
        else learner.recent.of(policy.step),
        folder,
        rank=config.learning.lora_rank,
        alpha=config.learning.lora_alpha,
    )
    runtime.servers.load(policy, config.server, folder)


def adapters_folder(data_dir: DataDir, config: LearningConfig, run: RunRef) -> Path:
    """Where the adapters of a run are written for the server."""
    if config.sampler.adapter_folder is not None:
        return of_user(config.sampler.adapter_folder).absolute() / run.run_id
    return data_dir.root / "adapters" / run.run_id


def forget_adapters(config: LearningConfig, run: RunRef, kept: Collection[PolicyRef] = ()) -> None:
    """Have the server forget the adapters that are not kept, and delete their files."""
    runtime = process_runtime()
    assert config.server is not None
    runtime.servers.unload(config.server, [policy.digest for policy in kept])
    names = {f"step-{policy.step:06d}" for policy in kept}
    folder = adapters_folder(runtime.data_dir, config, run)
    for one in folder.glob("step-*") if folder.is_dir() else ():
        if one.name not in names:
            shutil.rmtree(one, ignore_errors=True)
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)
