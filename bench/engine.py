"""Completions a second by one engine, and how far its log-probabilities are from the learner's.

The same problems, template and limits for each. Left out: loading the model, the tokenizer and the
first question to a server, and a small warm-up. The difference is taken to the model's own forward
pass in float32, without any of our shared computation.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pyarrow as pa
import torch

from artifacts.store.data_dir import current_data_dir
from artifacts.store.policy_folders import PolicyFolders
from bench.process import Record, answer
from bench.workload import TEMPLATE, load, problems, prompts, settings
from engines import in_process
from engines.openai_server.servers import Servers
from policy.attention.packing import completion_mask
from policy.logprobs.plain import plain_logprobs
from schemas.config import GenerationSettings
from schemas.server import ServerSettings

Complete = Callable[[pa.Table], pa.Table]
WARM_UP = 2  # problems, asked once before the clock starts


def measure(
    folder: str,
    problem_count: int,
    samples: int,
    new_tokens: int,
    seed: int,
    first: int = 0,
    model: str = "default",
    server: Record | None = None,
    compared: int = 0,
) -> Record:
    """Seconds for the problems from `first` on, and the differences in the first `compared`.

    `server` are the settings of the server that has `model`; without them this process samples.
    """
    told = GenerationSettings(
        template=TEMPLATE,
        samples=samples,
        sampling=settings(new_tokens),
        seed=seed,
        shard_size=problem_count,
        server=ServerSettings.model_validate(server) if server else None,
    )
    asked = pa.Table.from_pylist(problems(problem_count, first))
    complete = _asking(model, told) if server else _sampling(folder, told)
    complete(asked[:WARM_UP])
    started = time.perf_counter()
    made = complete(asked)
    seconds = time.perf_counter() - started
    record: Record = {
        "seconds": seconds,
        "completions_per_second": made.num_rows / seconds,
    }
    if compared and made["logprobs"].null_count == 0:
        record |= _agreement(folder, asked[:compared], made[: compared * samples])
    return record


def _sampling(folder: str, told: GenerationSettings) -> Complete:
    policy = load(folder, "cpu")
    seed = told.seed
    return lambda asked: in_process.complete(policy, asked, told, seed=seed, on_progress=_silent)


def _asking(model: str, told: GenerationSettings) -> Complete:
    servers = Servers(PolicyFolders(current_data_dir()))
    policy = servers.policy(model, told)
    return lambda asked: servers.complete(policy, asked, told, on_progress=_silent)


def _silent(_: int) -> None:
    """No progress is shown."""


def _agreement(folder: str, asked: pa.Table, made: pa.Table) -> Record:
    policy = load(folder, "cpu")
    drawn, samples = made["token_ids"].to_pylist(), made.num_rows // asked.num_rows
    encoded = prompts(policy, asked.to_pylist())
    with torch.no_grad():
        exact = plain_logprobs(policy.model, encoded, drawn)
    assert exact.shape[0] == len(encoded) * samples
    right = exact[completion_mask(drawn, exact.device)].double()
    told = [value for row in made["logprobs"].to_pylist() for value in row]
    sizes = (torch.tensor(told, dtype=right.dtype) - right).abs()
    return {
        "compared_tokens": len(told),
        "mean_nats": sizes.mean().item(),
        "largest_nats": sizes.max().item(),
    }


if __name__ == "__main__":
    answer(measure)
