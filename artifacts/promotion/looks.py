"""How often one could have looked at the evidence on an opponent's challengers.

Every state of the evidence that could have been shown to the gate is a look, whether or not the
gate was asked, because anyone can read the rates: `scorers.statistics.looks` says what a look
costs. Looks keep luck out. They do not keep out somebody who tries samples where nobody counts;
that is what the confirmation is for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from artifacts.promotion.evidence import HOLDOUT
from artifacts.tracking.history import RunRecord
from artifacts.tracking.sqlite_runs import Later
from schemas.loops import AFTER, BEFORE, EVALUATION, LEARNING, SELECTION

# what decides, beside the policy, which completions are sampled and how they are scored
SETTINGS = ("dataset", "split", "limit", "seed", "template", "scorer", "samples", "shard_size")
SAMPLING = "sampling."  # and every setting below it


@dataclass(frozen=True)
class Sampled:
    """A policy that a run sampled on the holdout, or had begun to sample when it was cut off.

    - `whole`: the run it belongs to: the learning run of a measurement before or after.
    - `known_by`: policy, instrument and seed; of what has one of them in common, the first counts.
      None for a run that was cut off, whose instrument is not known.
    - `attempt`: policy and settings; the same again samples the same.
    """

    whole: str
    digest: str
    started_ms: int
    instrument: str
    known_by: tuple[str, ...] | None
    attempt: tuple[str, ...]


def looks(
    runs: Sequence[RunRecord], candidates: Collection[str], opponent: str, since_ms: int
) -> int:
    """How often one could have compared a candidate with the opponent so far, 1 or more.

    `runs` are all of them, measurements inside learning runs included; `candidates` and `opponent`
    are digests of policies. Each run since then that added evidence on a candidate is a look, and
    so is each that added to what is known of the opponent, but for the first of all: there must be
    one. A run that was cut off is a look too, because its rate was shown while it went on; the
    same run again is none. Candidates that were never measured with an instrument of the opponent's
    could not be compared and do not count.
    """
    ours = set(candidates) - {opponent}
    asked = {*ours, opponent}
    sampled = sorted(sampled_on_holdout(runs, asked), key=lambda one: one.started_ms)
    shared = {one.instrument for one in sampled if one.digest == opponent}
    known: set[tuple[str, ...]] = set()
    cut_off: set[tuple[str, ...]] = set()
    looked: set[str] = set()
    of_opponent = False
    for one in sampled:
        if one.digest in ours and one.known_by and one.instrument not in shared:
            continue
        adds = (one.known_by or one.attempt) not in known and one.attempt not in cut_off
        known |= {one.attempt, one.known_by or one.attempt}
        cut_off -= {one.attempt}
        if not one.known_by:
            cut_off.add(one.attempt)
        if one.digest == opponent and not of_opponent:
            of_opponent, adds = True, False
        if adds and one.started_ms >= since_ms:
            looked.add(one.whole)
    return max(1, len(looked))


def first_sampled_ms(runs: Sequence[RunRecord], digest: str) -> int | None:
    """When a policy was first sampled, in milliseconds since 1970; None where it never was."""
    times = [one.started_ms for one in sampled_on_holdout(runs, {digest})]
    return min(times, default=None)


def sampled_on_holdout(
    runs: Sequence[RunRecord], digests: Collection[str] | None = None
) -> Iterator[Sampled]:
    """Every policy that was sampled on the holdout, by runs of any loop that ended in any way.

    With `digests`, only those of these policies.
    """
    for run in runs:
        if run.parameters.get("split") != HOLDOUT:
            continue
        for tag in _policy_tags(run):
            digest = run.tags.get(tag, "")
            if digest and (digests is None or digest in digests):
                yield _sampled(run, digest, tag)


def _policy_tags(run: RunRecord) -> list[str]:
    """The tags that name what a run sampled itself; a measurement inside it has its own run."""
    if run.loop in (EVALUATION, SELECTION):
        return ["model_digest"]
    if run.loop is not LEARNING:
        return []
    stages = [stage for stage in (BEFORE, AFTER) if run.measured(stage)]
    inside = [stage for stage in stages if f"measured.{stage}" not in run.tags]
    return [f"model_digest_{stage}" for stage in inside]


def _sampled(run: RunRecord, digest: str, tag: str) -> Sampled:
    settings = run.parameters
    names = [*SETTINGS, *_sampling_settings(settings)]
    given = {name: settings.get(name, "") for name in names}
    if run.loop is LEARNING:
        given["samples"] = settings.get("evaluation_samples", "")
    measured = run.measured(tag.removeprefix("model_digest").removeprefix("_"))
    instrument = run.tags.get("instrument", "") if measured else ""
    return Sampled(
        whole=run.parent if run.stage else run.run_id,
        digest=digest,
        started_ms=run.started_ms,
        instrument=instrument,
        known_by=(digest, instrument, given["seed"]) if instrument else None,
        attempt=(digest, *(f"{name}={value}" for name, value in given.items() if value)),
    )


def _sampling_settings(settings: Mapping[str, str]) -> list[str]:
    """Names of what sampling was told, in order; of very many runs they are read once for all."""
    if isinstance(settings, Later):
        return settings.names_below(SAMPLING)
    return sorted(name for name in settings if name.startswith(SAMPLING))
