"""Task generate: a policy answers every problem N times; the completions become a table."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from artifacts.store.keys import TaskKey, task_key
from artifacts.store.tables import Store
from engines.in_process import complete
from policy.model.numerics import numerics
from policy.model.template import UNSAID, get_template
from schemas.completions import COMPLETIONS
from schemas.config import GenerationSettings
from schemas.errors import StoreError
from schemas.identity import canonical_json, derive_seed
from schemas.references import PolicyRef, TableRef
from schemas.steps import completions_in, step_row_in
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.progress import Progress, ShardStored
from tasks.runtime.runtime import Runtime, process_runtime


@pipeline_task("generate", "generate {label}, {problems.rows} problems x {settings.samples}")
def generate(
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    *,
    label: str = "generating",
    part: bool = False,
    made: TableRef | None = None,
) -> TableRef:
    """Sample `settings.samples` completions for each problem, `shard_size` problems at a time.

    Each shard's seed comes from the seed, the problems and the shard's place alone. Each finished
    shard is kept until all are there, so a run that was cut off goes on where it stopped. `label`
    and `part` (see `Progress`) say how the work is reported. `made` is a step's table that may
    have the completions already. Raises StoreError where `settings.computed_by` asks for stored
    ones that are not there.
    """
    runtime = process_runtime()
    key = generation_key(problems, policy, settings)
    if found := runtime.store.find(key):
        _drop_shards(runtime.store, problems, policy, settings)
        if policy.engine is not None:
            runtime.progress.log_message(
                f"{policy.name} was asked for these completions before, and they are taken from "
                "the store; another --seed asks anew"
            )
        return found
    if made and (found := _taken_from(runtime.store, made, key)):
        return found
    if policy.engine is None and not _computes(runtime, settings):
        raise StoreError(
            f"its completions that were computed with {settings.computed_by} are not in the store",
            policy.name,
            "sample them anew",
        )
    try:
        return _generated(runtime, problems, policy, settings, label=label, part=part)
    finally:
        runtime.progress.forget(label)


def _generated(
    runtime: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    *,
    label: str,
    part: bool,
) -> TableRef:
    store = runtime.store
    table, size = store.read(problems), settings.shard_size
    total = table.num_rows * settings.samples
    starts = range(0, table.num_rows, size)
    shards = []
    ahead: dict[int, pa.Table] = {}
    for start in starts:
        key = generation_key(problems, policy, settings, shard_start=start)
        kept, shard = (None, ahead.pop(start)) if start in ahead else _stored_shard(store, key)
        if shard is None and runtime.group is not None and policy.engine is None:
            ahead = _sampled_together(runtime, problems, policy, settings, start, label, part)
            shard = ahead.pop(start)
        if shard is None:
            shard = _sample_shard(
                runtime,
                policy,
                settings,
                table.slice(start, size),
                seed=derive_seed("generate", settings.seed, problems.digest, start),
                on_progress=_reporter(runtime, label, part, start * settings.samples, total),
            )
            if len(starts) > 1:  # a single shard is the whole table, which is written below
                kept = store.keep(key, shard)
        if kept is not None:
            runtime.progress.report(ShardStored(label, problems, kept))
        shards.append(shard.replace_schema_metadata(None).cast(COMPLETIONS.arrow))
    whole = store.keep(generation_key(problems, policy, settings), pa.concat_tables(shards))
    _drop_shards(store, problems, policy, settings)
    return whole


def _taken_from(store: Store, step: TableRef, key: TaskKey) -> TableRef | None:
    """The completions that a step learned from, if they are what a key asks for, byte for byte."""
    try:
        table = store.read(step)
        rows, digest = completions_in(table), step_row_in(table).completions_digest
    except StoreError:
        return None
    return store.keep(key, rows) if store.would_be(key, rows).digest == digest else None


def _drop_shards(
    store: Store, problems: TableRef, policy: PolicyRef, settings: GenerationSettings
) -> None:
    """Drop the shards of a table that is whole; also those that a killed process left behind."""
    if problems.rows > settings.shard_size:
        for start in range(0, problems.rows, settings.shard_size):
            store.drop(generation_key(problems, policy, settings, shard_start=start))


def generation_key(
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    *,
    shard_start: int | None = None,
) -> TaskKey:
    """Everything that completions depend on; with `shard_start`, those of one shard."""
    template = get_template(settings.template)
    config: dict[str, str | int] = {
        "policy": policy.digest,
        "template": template.identity,
        "sampling": canonical_json(settings.sampling.model_dump()),
        "samples": settings.samples,
        "seed": settings.seed,
        "shard_size": settings.shard_size,
    }
    if policy.engine is None:
        config["numerics"] = settings.computed_by or numerics(settings.device)
    else:
        assert settings.server is not None
        config["engine"] = canonical_json(policy.engine.model_dump())
        config["model"] = policy.name
        asked = settings.server.model_dump(include={"extra_body", "samples_per_request"})
        config["request"] = canonical_json(asked)
    if not template.built_in:  # its name says nothing to whoever has the table alone
        said = template.written().model_dump(mode="json", exclude=set(UNSAID))
        config["template_content"] = canonical_json(said)
    if settings.for_step:  # another key than that of completions that an earlier version kept
        config["for"] = "step"
    parents = {"problems": problems.digest}
    if shard_start is None:
        return task_key("completions", "generate", parents=parents, config=config)
    shard = config | {"start": shard_start}
    return task_key("completions", "generate-shard", parents=parents, config=shard)


def _stored_shard(store: Store, key: TaskKey) -> tuple[TableRef | None, pa.Table | None]:
    """A shard that an earlier run finished; None where there is none, or no longer."""
    found = store.find(key)
    if found is None:
        return None, None
    try:
        return found, store.read(found)
    except StoreError:  # another process has just finished all of them
        return None, None


def _sample_shard(
    runtime: Runtime,
    policy: PolicyRef,
    settings: GenerationSettings,
    problems: pa.Table,
    *,
    seed: int,
    on_progress: Callable[[int], None],
) -> pa.Table:
    """A shard by the policy's engine; a server's seeds are each problem's, not the shard's."""
    if policy.engine is not None:
        on_progress(0)
        return runtime.servers.complete(policy, problems, settings, on_progress=on_progress)
    held = runtime.models.policy(policy, settings.device)
    on_progress(0)  # what follows takes the time that is left; loading took another
    return complete(held, problems, settings, seed=seed, on_progress=on_progress)


def _sampled_together(
    runtime: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    start: int,
    label: str,
    part: bool,
) -> dict[int, pa.Table]:
    """The shard at `start`, and the next ones that are missing, by where they start.

    A step's shard is divided, problem by problem, and each process samples its problems. A
    measurement's shards are as one process would make them, so each process samples a whole one.
    """
    from tasks.runtime.sharing import parts_of_a_shard, sample_together, whole_shard

    assert runtime.group is not None
    store, group, n = runtime.store, runtime.group, settings.samples
    table = store.read(problems)

    def seed(first: int) -> int:
        return derive_seed("generate", settings.seed, problems.digest, first)

    def shard(first: int) -> pa.Table:
        return table.slice(first, settings.shard_size)

    on_progress = _reporter(runtime, label, part, start * n, table.num_rows * n)
    if settings.for_step:
        parts = parts_of_a_shard(group, shard(start), n, seed(start))
        found = sample_together(group, runtime.models, policy, settings, parts, on_progress)
        return {start: pa.concat_tables(found)}
    missing = [
        first
        for first in range(start, table.num_rows, settings.shard_size)
        if store.find(generation_key(problems, policy, settings, shard_start=first)) is None
    ]
    chosen = [start, *(first for first in missing if first != start)][: group.size]
    if len(set(group.numerics)) > 1:  # another process's bits would not be those that the key says
        chosen = chosen[:1]
    whole = [whole_shard(shard(first), n, seed(first)) for first in chosen]
    idle = [None] * (group.size - len(whole))
    found = sample_together(
        group, runtime.models, policy, settings, [*whole, *idle], on_progress
    )
    return dict(zip(chosen, found, strict=True))


def _computes(runtime: Runtime, settings: GenerationSettings) -> bool:
    """Whether what these settings ask for would be computed as they say."""
    if settings.computed_by in ("", numerics(settings.device)):
        return True
    together = None if runtime.group is None else runtime.numerics_of_steps(settings.device)
    return settings.computed_by == together


def _reporter(
    runtime: Runtime, label: str, part: bool, before: int, total: int
) -> Callable[[int], None]:
    return lambda done: runtime.progress.report(
        Progress(label, before + done, total, "completions", part)
    )
