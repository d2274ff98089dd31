"""Task generate: a policy answers every problem N times; the answers become a completions table.

It draws and records; whether an answer is right is not its business.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from artifacts.store.tables import Store, task_key
from policy.model.load import Policy, decode_completion, numerics
from policy.model.template import get_template
from policy.sampling.sample import Samples, sample
from schemas.config import SamplingSettings
from schemas.identity import canonical_json, derive_seed
from schemas.references import PolicyRef, TableRef
from scorers.registry import BUILT_IN
from tasks.runtime.model_cache import resident_policy
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.progress import Progress, report


@pipeline_task("generate", "generate {label}, {problems.rows} problems x {samples}")
def generate(
    problems: TableRef,
    policy: PolicyRef,
    *,
    template: str,
    sampling: SamplingSettings,
    samples: int,
    seed: int,
    shard_size: int,
    device: str = "auto",
    label: str = "generating",
    watch: str | None = None,
) -> TableRef:
    """Draw `samples` completions for each problem, `shard_size` problems at a time.

    Each shard's seed comes from `seed`, the problems and the shard's place alone, and each
    finished shard is kept under its key, so a run that was cut off goes on where it stopped.

    `watch` names a scorer whose pass rate so far is told with the progress, if it is one of ours.
    It decides nothing and is kept nowhere.
    """
    store = Store()
    rendered = get_template(template)
    settings = {
        "policy": policy.digest,
        "template": f"{rendered.id}:{rendered.digest}",
        "sampling": canonical_json(sampling.model_dump()),
        "samples": samples,
        "seed": seed,
        "shard_size": shard_size,
        "numerics": numerics(device),
    }
    key = task_key("generate", problems=problems.digest, **settings)
    if found := store.find(key):
        return found
    table = store.read(problems)
    shards, so_far = [], PassRateSoFar(watch)
    for start in range(0, table.num_rows, shard_size):
        shard_key = task_key("generate-shard", problems=problems.digest, start=start, **settings)
        done = store.find(shard_key)
        if done is None:
            rows = table.slice(start, shard_size)
            held = resident_policy(policy, device)
            shard_seed = derive_seed("generate", seed, problems.digest, start)
            drawn = sample(
                held,
                rendered.encode(rows["prompt"].to_pylist(), held.tokenizer),
                samples=samples,
                settings=sampling,
                seed=shard_seed,
                on_progress=_reporter(label, start * samples, table.num_rows * samples, so_far),
            )
            done = store.write(
                "completions",
                completions_table(rows["problem_id"].to_pylist(), drawn, held, shard_seed),
                producer="generate-shard",
                parents={"problems": problems.digest},
                config=settings | {"rows_per_batch": drawn.rows_per_batch},
                key=shard_key,
            )
        shards.append(store.read(done))
        so_far.add(table, shards[-1])
    whole = pa.concat_tables(shard.replace_schema_metadata(None) for shard in shards)
    return store.write(
        "completions",
        whole,
        producer="generate",
        parents={"problems": problems.digest},
        config=settings,
        key=key,
    )


def completions_table(ids: list[str], drawn: Samples, policy: Policy, seed: int) -> pa.Table:
    """The rows of one shard: B problems × N samples, problem by problem."""
    n = drawn.samples_per_problem
    texts = [
        decode_completion(policy.tokenizer, tokens, policy.end_token_ids)
        for tokens in drawn.token_ids
    ]
    rows = len(texts)
    return pa.table(
        {
            "problem_id": pa.array([identity for identity in ids for _ in range(n)], pa.string()),
            "sample_index": pa.array([row % n for row in range(rows)], pa.int32()),
            "text": pa.array(texts, pa.string()),
            "finish_reason": pa.array(drawn.finish_reasons, pa.string()),
            "token_count": pa.array([len(t) for t in drawn.token_ids], pa.int32()),
            "sum_logprob": pa.array([min(0.0, sum(lp)) for lp in drawn.logprobs], pa.float64()),
            "shard_seed": pa.array([seed] * rows, pa.int64()),
            "token_ids": pa.array(drawn.token_ids, pa.list_(pa.int32())),
            "logprobs": pa.array(drawn.logprobs, pa.list_(pa.float32())),
        }
    )


class PassRateSoFar:
    """What a scorer of ours says of the shards that are done, as a note beside the progress."""

    def __init__(self, scorer: str | None) -> None:
        self._scorer = next((one for one in BUILT_IN if one.id == scorer), None)
        self._right = self._judged = 0

    def add(self, problems: pa.Table, shard: pa.Table) -> None:
        """Judge a shard of completions."""
        if self._scorer is None:
            return
        row = pc.index_in(shard["problem_id"], problems["problem_id"].combine_chunks())
        expected = problems["expected_answer"].take(row)
        verdicts = self._scorer.score(shard["text"], shard["finish_reason"], expected)
        self._right += pc.sum(pc.equal(verdicts["reward"], 1.0)).as_py()
        self._judged += shard.num_rows

    def notes(self) -> dict[str, str]:
        """The pass rate, once there is one."""
        if not self._judged:
            return {}
        return {"pass rate so far": f"{100 * self._right / self._judged:.0f} %"}


def _reporter(label: str, before: int, total: int, so_far: PassRateSoFar) -> Callable[[int], None]:
    notes = so_far.notes()
    return lambda done: report(Progress(label, before + done, total, "completions", notes))
