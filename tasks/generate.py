"""Task generate: a policy answers every problem N times; the completions become a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from artifacts.store.keys import TaskKey, code_versions
from artifacts.store.tables import Store
from policy.model.numerics import numerics
from schemas.completions import COMPLETIONS
from schemas.config import Compute, GenerationSettings
from schemas.errors import InputError, StoreError
from schemas.maker import Maker
from schemas.references import PolicyRef, TableRef
from schemas.steps import completions_in, step_row_in
from tasks.generate_shard import (
    describe_worker,
    generate_shard,
    generation_key,
    sample_shard,
    shard_seed,
    stored_shard,
)
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.progress import Progress, ShardStored
from tasks.runtime.runtime import Runtime, process_runtime
from tasks.runtime.workers import Workers


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

    Where the runtime has workers, shards are handed to them, and the key names their numerics. A
    policy in the middle of learning is in this process alone, and is sampled here.
    """
    runtime = process_runtime()
    workers = None if policy.step or settings.computed_by else runtime.workers
    maker = None
    if workers is not None:
        maker = _maker_of(workers, problems, policy, settings.compute)
        settings = settings.model_copy(update={"computed_by": maker.numerics})
    key = generation_key(problems, policy, settings)
    if found := runtime.store.find(key):
        _drop_shards(runtime.store, problems, policy, settings, single=workers is not None)
        if policy.engine is not None and not settings.for_step:
            runtime.progress.log_message(
                f"{policy.name} was asked for these completions before, and they are taken from "
                "the store; another --seed asks anew"
            )
        return found
    if made and (found := _taken_from(runtime.store, made, key)):
        return found
    here = workers is None and policy.engine is None
    if here and not _computes(runtime, settings):
        raise StoreError(
            f"its completions that were computed with {settings.computed_by} are not in the store",
            policy.name,
            "sample them anew",
        )
    try:
        shards: Iterable[pa.Table]
        if workers is None or maker is None:
            shards = _sampled_here(runtime, problems, policy, settings, label=label, part=part)
        else:
            todo = _Shards(problems, policy, settings, maker)
            shards = _sampled_by(workers, runtime, todo, label=label, part=part)
        parts = [shard.replace_schema_metadata(None).cast(COMPLETIONS.arrow) for shard in shards]
        whole = runtime.store.keep(key, pa.concat_tables(parts))
        _drop_shards(runtime.store, problems, policy, settings, single=workers is not None)
        return whole
    except InputError:
        # an equal run elsewhere that was first has dropped the shards, for all of them are there
        first = None if workers is None else runtime.store.find(key)
        if first is None:
            raise
        _drop_shards(runtime.store, problems, policy, settings, single=True)
        return first
    finally:
        runtime.progress.forget(label)


def are_known(
    runtime: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    made: TableRef | None = None,
) -> bool:
    """Whether `generate` would find these completions, and ask nobody for them."""
    key = generation_key(problems, policy, settings)
    if runtime.store.find(key) is not None:
        return True
    return made is not None and _taken_from(runtime.store, made, key) is not None


def _sampled_here(
    runtime: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    *,
    label: str,
    part: bool,
) -> Iterator[pa.Table]:
    """The shards in their order, sampled one after another in this process."""
    store = runtime.store
    table, size = store.read(problems), settings.shard_size
    total = table.num_rows * settings.samples
    starts = range(0, table.num_rows, size)
    together = runtime.group is not None and policy.engine is None
    ahead: dict[int, tuple[TableRef | None, pa.Table]] = {}  # that other processes have sampled
    for start in starts:
        key = generation_key(problems, policy, settings, shard_start=start)
        kept, shard = ahead.pop(start) if start in ahead else stored_shard(store, key)
        if shard is None:
            if together:
                made = _sampled_together(runtime, problems, policy, settings, start, label, part)
            else:
                shard = sample_shard(
                    runtime,
                    policy,
                    settings,
                    table.slice(start, size),
                    seed=shard_seed(problems, settings, start),
                    on_progress=_reporter(runtime, label, part, start * settings.samples, total),
                )
                made = {start: shard}
            for first, rows in made.items():
                of_first = generation_key(problems, policy, settings, shard_start=first)
                # a single shard is the whole table, which is written later
                ahead[first] = (store.keep(of_first, rows) if len(starts) > 1 else None, rows)
            kept, shard = ahead.pop(start)
        if kept is not None:
            runtime.progress.report(ShardStored(label, problems, kept))
        yield shard


@dataclass(frozen=True)
class _Shards:
    """The shards of one table as workers are asked for them."""

    problems: TableRef
    policy: PolicyRef
    settings: GenerationSettings
    maker: Maker

    @property
    def starts(self) -> range:
        """The row of the first problem of each."""
        return range(0, self.problems.rows, self.settings.shard_size)

    def call(self, start: int) -> dict[str, Any]:
        """The parameters of the task for one of them."""
        return {**vars(self), "start": start}

    def key(self, start: int) -> TaskKey:
        """The key that one of them is kept under."""
        return generation_key(self.problems, self.policy, self.settings, shard_start=start)


def _sampled_by(
    workers: Workers, runtime: Runtime, shards: _Shards, *, label: str, part: bool
) -> list[pa.Table]:
    """The shards in their order, each sampled by one of the workers unless it is there already."""
    store, hub = runtime.store, runtime.progress
    total = shards.problems.rows * shards.settings.samples
    tables: dict[int, pa.Table] = {}
    for start in shards.starts:
        kept, table = stored_shard(store, shards.key(start))
        if kept is not None and table is not None:
            tables[start] = table
            hub.report(ShardStored(label, shards.problems, kept))
    missing = [start for start in shards.starts if start not in tables]
    done = sum(table.num_rows for table in tables.values())
    hub.report(Progress(label, done, total, "completions", part))

    def made_elsewhere(place: int) -> TableRef | None:
        return stored_shard(store, shards.key(missing[place]))[0]

    calls = [shards.call(start) for start in missing]
    for place, kept in workers.each(generate_shard, calls, made_elsewhere):
        table = tables[missing[place]] = store.read(kept)
        done += table.num_rows
        hub.report(Progress(label, done, total, "completions", part))
        hub.report(ShardStored(label, shards.problems, kept))
    return [tables[start] for start in shards.starts]


def _maker_of(workers: Workers, problems: TableRef, policy: PolicyRef, compute: Compute) -> Maker:
    """What a worker makes completions with; InputError where its code is not the code here."""
    asked = {"problems": problems, "policy": policy, "compute": compute, "apart": workers.apart}
    maker = workers.ask(describe_worker, asked)
    here = Maker(versions=code_versions(), numerics=maker.numerics)
    if unlike := maker.unlike(here):
        raise workers.refusal(
            f"a worker has {unlike}, so its tables would not be those of this command",
            "install the same versions where workers run",
        )
    return maker


def _taken_from(store: Store, step: TableRef, key: TaskKey) -> TableRef | None:
    """The completions that a step learned from, if they are what a key asks for, byte for byte."""
    try:
        table = store.read(step)
        rows, digest = completions_in(table), step_row_in(table).completions_digest
    except StoreError:
        return None
    return store.keep(key, rows) if store.would_be(key, rows).digest == digest else None


def _drop_shards(
    store: Store,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    *,
    single: bool = False,
) -> None:
    """Drop the shards of a table that is whole; also those that a killed process left behind.

    With `single`, also where the one shard is all of it, as a worker keeps it.
    """
    if single or problems.rows > settings.shard_size:
        for start in range(0, problems.rows, settings.shard_size):
            store.drop(generation_key(problems, policy, settings, shard_start=start))


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
    from tasks.runtime.sharing import Part, parts_of_a_shard, sample_together, whole_shard

    assert runtime.group is not None
    store, group, n = runtime.store, runtime.group, settings.samples
    table = store.read(problems)

    def seed(first: int) -> int:
        return shard_seed(problems, settings, first)

    def shard(first: int) -> pa.Table:
        return table.slice(first, settings.shard_size)

    def sampled(parts: list[Part | None]) -> list[pa.Table]:
        # what this process has done of its part stands for what all have done of theirs
        mine, every = parts[group.rank], sum(len(one.ids) for one in parts if one is not None)
        times = every / len(mine.ids) if mine is not None else 0.0
        report = _reporter(runtime, label, part, start * n, table.num_rows * n)

        def on_progress(done: int) -> None:
            report(round(done * times))

        return sample_together(group, runtime.models, policy, settings, parts, on_progress)

    if settings.for_step:
        return {
            start: pa.concat_tables(sampled(parts_of_a_shard(group, shard(start), n, seed(start))))
        }
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
    return dict(zip(chosen, sampled([*whole, *idle]), strict=True))


def _computes(runtime: Runtime, settings: GenerationSettings) -> bool:
    """Whether what these settings ask for would be computed as they say."""
    if settings.computed_by in ("", numerics(settings.compute)):
        return True
    together = None if runtime.group is None else runtime.numerics_of_steps(settings.compute)
    return settings.computed_by == together


def _reporter(
    runtime: Runtime, label: str, part: bool, before: int, total: int
) -> Callable[[int], None]:
    return lambda done: runtime.progress.report(
        Progress(label, before + done, total, "completions", part)
    )
