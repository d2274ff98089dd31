"""Where a policy comes from: the learning runs that made it, and the problems they trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from artifacts.runs.measured import stored_table
from artifacts.store.tables import Store, provenance_of
from artifacts.tracking.history import RunRecord
from schemas.errors import StoreError
from schemas.loops import LEARNING
from schemas.references import PolicyRef, TableRef


def policies_on_the_way(store: Store, start: PolicyRef, training: TableRef) -> list[PolicyRef]:
    """The start and the policy after each step of a training table, as learning referred to it."""
    rows = store.read(training).select(["step", "policy_lineage"]).to_pylist()
    reached = [{"step": row["step"], "digest": row["policy_lineage"]} for row in rows]
    return [start, *(start.model_copy(update=update) for update in reached)]


def numerics_of_steps(store: Store, training: TableRef) -> dict[int, str]:
    """What computed each step of a training table, as far back as the tables before it are kept.

    A run that was resumed may have had several. Empty for a step of an earlier version.
    """
    found: dict[int, str] = {}
    digest: str | None = training.digest
    while digest is not None:
        try:
            steps = store.columns("training", digest, ["step"])
        except StoreError:
            break
        provenance = provenance_of(steps)
        found[steps.num_rows] = str(provenance.config.get("numerics", ""))
        digest = provenance.parents.get("training")
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
    training = store.read(stored_table(store, run, "training"))
    asked = set()
    for digest in training["completions_digest"].to_pylist():
        completions = store.read(store.lookup("completions", digest))
        asked.add(provenance_of(completions).parent("problems"))
    return {
        prompt
        for digest in asked
        for prompt in store.read(store.lookup("problems", digest))["prompt"].to_pylist()
    }
