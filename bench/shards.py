"""Shards in this process, or on the workers that the environment names: completions, or naps.

Naps measure what a shard costs beside its work, and whether several workers work at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence

from artifacts.registry.resolve import resolve_policy
from artifacts.store.data_dir import current_data_dir
from bench.process import Record, answer, busy_seconds
from flows.orchestration.settings import configure_prefect
from flows.orchestration.task_runners import on_workers
from schemas.config import EvalConfig, GenerationSettings, SamplingSettings, TaskRunner


def measure(
    runner: TaskRunner | None,
    model: str = "default",
    problems: int = 0,
    samples: int = 4,
    shard_size: int = 16,
    new_tokens: int = 16,
    naps: int = 0,
    nap_seconds: float = 0.0,
) -> Record:
    """Seconds for `problems` problems and for `naps` naps, after a first round that is not counted.

    In the first round each worker imports what it needs and loads the model.
    """
    configure_prefect(current_data_dir())
    from flows.orchestration.pipeline_flow import pipeline_flow
    from tasks.generate import generate
    from tasks.load_dataset import load_dataset
    from tasks.runtime.pipeline_task import pipeline_task
    from tasks.runtime.runtime import process_runtime

    @pipeline_task("nap", "nap of {seconds} s")
    def nap(seconds: float) -> tuple[int, float]:
        """Sleep; the id of the process that slept, and the CPU seconds that it has used so far."""
        time.sleep(seconds)
        return os.getpid(), time.process_time()

    runtime = process_runtime()
    policy = resolve_policy(runtime.archive, model, print)

    def settings(seed: int) -> GenerationSettings:
        config = EvalConfig(
            seed=seed,
            samples=samples,
            shard_size=shard_size,
            sampling=SamplingSettings(max_new_tokens=new_tokens),
        )
        return config.generation()

    def slept(count: int, seconds: float) -> Record:
        assert runtime.workers is not None, "naps are for workers"
        started, own, busy = time.perf_counter(), time.process_time(), busy_seconds()
        calls = [{"seconds": seconds}] * count
        used: dict[int, list[float]] = {}
        for _, (process, cpu) in runtime.workers.each(nap, calls):
            used.setdefault(process, []).append(cpu)
        return {
            "seconds": time.perf_counter() - started,
            "processes": len(used),
            "one_process_cpu": (time.process_time() - own) / count,
            "worker_cpu": mean_growth(used.values()),
            "machine_cpu": (busy_seconds() - busy) / count,
        }

    def sampled(seed: int) -> Record:
        table = load_dataset("arithmetic", "train", problems)
        started = time.perf_counter()
        made = generate(table, policy, settings(seed))
        return {"seconds": time.perf_counter() - started, "digest": made.digest}

    @pipeline_flow(name="shards", flow_run_name="shards")
    def shards() -> Record:
        found: Record = {}
        with on_workers(runtime, runner, policy, "auto"):
            if problems:
                sampled(1)
                found["sampled"] = sampled(2)
            if naps:
                slept(8, 0.0)
                found["slept"] = slept(naps, nap_seconds)
                found["nothing"] = slept(naps, 0.0)
        return found

    return shards()


def mean_growth(series: Iterable[Sequence[float]]) -> float:
    """By how much each value exceeds the smaller one before it, on average over all series."""
    grown = [(max(one) - min(one), len(one) - 1) for one in series]
    return sum(by for by, _ in grown) / max(1, sum(steps for _, steps in grown))


if __name__ == "__main__":
    answer(measure)
