"""Task generate-shard: the completions of one shard become a table, in whichever process this is.

A worker gets references and settings. Its runtime is its own, made from its environment.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import pyarrow as pa

from artifacts.store.keys import TaskKey, code_versions, task_key
from artifacts.store.tables import Store
from artifacts.unsent.servers import without_password
from engines.in_process import complete
from policy.model.numerics import numerics
from policy.model.template import UNSAID, get_template
from schemas.config import Compute, GenerationSettings
from schemas.errors import InputError, StoreError
from schemas.identity import canonical_json, derive_seed
from schemas.maker import Maker
from schemas.references import PolicyRef, TableRef
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.runtime import Runtime, process_runtime


@pipeline_task("generate-shard", "generate shard from problem {start}")
def generate_shard(
    problems: TableRef, policy: PolicyRef, settings: GenerationSettings, start: int, maker: Maker
) -> TableRef:
    """Sample one shard, the problems from `start` on, and keep it under its key.

    A shard that is there already is returned: a worker may have died just after it was kept.
    Raises InputError where this process is unlike `maker`, which the key names.
    """
    runtime = process_runtime()
    table = tables_of(runtime, problems)
    if unlike := this_maker(policy, settings.compute).unlike(maker):
        raise InputError(
            f"it is unlike the worker that was asked first: it has {unlike}",
            this_worker(),
            "start all workers in equal environments, on equal machines, with one OMP_NUM_THREADS",
        )
    key = generation_key(problems, policy, settings, shard_start=start)
    kept, _ = stored_shard(runtime.store, key)
    if kept is not None:
        return kept
    rows = table.slice(start, settings.shard_size)
    seed = shard_seed(problems, settings, start)
    shard = sample_shard(runtime, policy, settings, rows, seed=seed, on_progress=lambda done: None)
    return runtime.store.keep(key, shard)


def describe_worker(problems: TableRef, policy: PolicyRef, compute: Compute, apart: bool) -> Maker:
    """What a worker makes tables with, once it is sure that it can; loads no model.

    It is a plain call, of which Prefect is told nothing. InputError where the worker does not see
    the tables and the policy, or is a process `apart` that may not tell a server of Prefect.
    """
    if apart:
        _refuse_without_prefect()
    runtime = process_runtime()
    tables_of(runtime, problems)
    if policy.engine is None:
        try:
            runtime.archive.folders.find(policy)
        except StoreError as error:
            raise _elsewhere(runtime, str(error)) from None
    return this_maker(policy, compute)


def _refuse_without_prefect() -> None:
    """InputError where this process knows no server of Prefect, or one that does not let it in.

    A server that does not answer is no reason: shards go on without it. What a worker tells goes
    by its own settings, with those of the command it only asks.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    address = PREFECT_API_URL.value()
    if not address:
        raise InputError(
            "it was started without PREFECT_API_URL, and would start a Prefect server of its own",
            this_worker(),
            "set the variable where workers are started",
        )
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(sync_client=True) as client,
        ):
            client.api_version()
    except httpx.HTTPStatusError as error:
        if error.response.status_code in (401, 403):
            raise InputError(
                f"the Prefect server at {without_password(address)} does not let it in",
                this_worker(),
                "start workers with PREFECT_CLIENT_CUSTOM_HEADERS, or with the password that the "
                "server asks for",
            ) from None
    except httpx.TransportError:
        pass


def this_maker(policy: PolicyRef, compute: Compute) -> Maker:
    """What this process makes completions of a policy with."""
    computed = numerics(compute) if policy.engine is None else ""
    return Maker(versions=code_versions(), numerics=computed)


def this_worker() -> str:
    """The machine that this process runs on, as a line about it begins."""
    return f"the worker on {socket.gethostname()}"


def tables_of(runtime: Runtime, problems: TableRef) -> pa.Table:
    """The problems; InputError where this process has another data folder or store."""
    try:
        return runtime.store.read(problems)
    except StoreError as error:
        raise _elsewhere(runtime, str(error)) from None


def _elsewhere(runtime: Runtime, what: str) -> InputError:
    return InputError(
        f"its data folder {runtime.data_dir.root} lacks what this command has ({what})",
        this_worker(),
        "start workers with this command's THREELOOPS_HOME, or with one THREELOOPS_STORE for all",
    )


def shard_seed(problems: TableRef, settings: GenerationSettings, start: int) -> int:
    """A shard's seed, from the seed, the problems and the shard's place alone."""
    return derive_seed("generate", settings.seed, problems.digest, start)


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
        config["numerics"] = settings.computed_by or numerics(settings.compute)
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


def stored_shard(store: Store, key: TaskKey) -> tuple[TableRef | None, pa.Table | None]:
    """A shard that an earlier run finished; None where there is none, or no longer."""
    found = store.find(key)
    if found is None:
        return None, None
    try:
        return found, store.read(found)
    except StoreError:  # another process has just finished all of them
        return None, None


def sample_shard(
    runtime: Runtime,
    policy: PolicyRef,
    settings: GenerationSettings,
    problems: pa.Table,
    *,
    seed: int,
    on_progress: Callable[[int], None],
) -> pa.Table:
    """A shard by the policy's engine; a server's seeds are each problem's, not the shard's.

    One thread of a process at a time samples from a model. A server is asked by several.
    """
    if policy.engine is not None:
        with runtime.model_lock:
            servers = runtime.servers
        on_progress(0)
        return servers.complete(policy, problems, settings, on_progress=on_progress)
    with runtime.model_lock:
        held = runtime.models.policy(policy, settings.compute)
        on_progress(0)  # what follows takes the time that is left; loading took another
        return complete(held, problems, settings, seed=seed, on_progress=on_progress)
