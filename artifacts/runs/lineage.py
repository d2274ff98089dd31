"""Where a policy comes from: the learning runs that made it, and the problems they trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from artifacts.runs.measured import stored_table
from artifacts.store.steps import Steps, learned_from, step_before
from artifacts.store.tables import Store
from artifacts.tracking.history import RunRecord
from schemas.errors import StoreError
from schemas.loops import LEARNING
from schemas.references import PolicyRef, TableRef
from schemas.training import training_rows


def policies_on_the_way(store: Store, start: PolicyRef, newest: TableRef) -> list[PolicyRef]:
    """The start and the policy after each step up to the newest, as learning referred to it.

    `newest` is a step table, or a training table of an earlier version.
    """
    rows = Steps(store).rows(newest)
    reached = [{"step": row.step, "digest": row.policy_lineage} for row in rows]
    return [start, *(start.model_copy(update=update) for update in reached)]


def numerics_of_steps(store: Store, newest: TableRef) -> dict[int, str]:
    """What computed each step up to the newest, as far back as the tables before it are kept.

    A run that was resumed may have had several. Empty for a step of an earlier version, which left
    a training table after each step.
    """
    found: dict[int, str] = {}
    at: TableRef | None = newest
    while at is not None:
        try:
            step, before, made = step_before(store, at)
        except StoreError:
            break
        found[step] = str(made.config.get("numerics", ""))
        at = before
    return found


def made_by(digest: str, runs: Sequence[RunRecord]) -> Iterator[RunRecord]:
    """The learning runs behind a policy, the last one first, back to a start of its own.

    A digest that several runs arrived at means the newest of them. How a run ended does not matter:
    what it made is there.
    """
    seen: set[str] = set()
    while digest and digest not in seen:
        seen.add(digest)
        made = [
            run
            for run in runs
            if run.loop is LEARNING and run.tags.get("model_digest_after") == digest
        ]
        if not made:
            return
        yield made[0]
        digest = made[0].tags.get("model_digest_before", "")


def base_of(digest: str, runs: Sequence[RunRecord]) -> str:
    """The policy that the learning runs behind a policy began with; itself where none made it."""
    makers = list(made_by(digest, runs))
    return (makers[-1].tags.get("model_digest_before", "") if makers else "") or digest


def trained_prompts(store: Store, run: RunRecord) -> set[str]:
    """Every prompt that a learning run sampled completions of, by its training table.

    Raises InputError where a table on the way is missing or was changed.
    """
    ids_of: dict[str, set[str]] = {}  # by the digest of the problems table that they are in
    for row in training_rows(store.read(stored_table(store, run, "training"))):
        asked, sampled = learned_from(store, row, ["problem_id"])
        ids_of.setdefault(asked, set()).update(sampled["problem_id"].to_pylist())
    return {
        prompt
        for digest, ids in ids_of.items()
        for name, prompt in _prompts(store, digest)
        if name in ids
    }


def _prompts(store: Store, problems: str) -> Iterator[tuple[str, str]]:
    rows = store.read(store.lookup("problems", problems))
    return zip(rows["problem_id"].to_pylist(), rows["prompt"].to_pylist(), strict=True)
