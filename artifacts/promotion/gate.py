"""The gate: whether a model version may become the champion, and on what evidence."""

from __future__ import annotations

from collections.abc import Sequence

from artifacts.compare.comparison import compare_measurements, differing_parts, paired
from artifacts.promotion.decisions import champion_since_ms, confirmed_against
from artifacts.promotion.evidence import HOLDOUT, Evidence, evidence_on, pooled
from artifacts.promotion.looks import first_sampled_ms, looks
from artifacts.registry.versions import RegisteredVersion, champion_of, registered_digests
from artifacts.runs.lineage import base_of, made_by, trained_prompts
from artifacts.runs.measured import StoredMeasurement
from artifacts.store.tables import Store
from artifacts.text.numbers import level_in_words, points, points_interval
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from schemas.errors import InputError
from schemas.loops import LEARNING
from schemas.result_parts import Candidate, GateLevel, Opponent
from schemas.results import Decision, RatedComparison
from scorers.final_int import FINAL_INT_1
from scorers.statistics.looks import level_of_look

Pair = tuple[StoredMeasurement, StoredMeasurement]


def decide(archive: Archive, version: RegisteredVersion, min_gain: float) -> Decision:
    """Whether a version may be the champion by what is known, every reason against, the evidence.

    A version that passes here has yet to be confirmed (`artifacts.promotion.confirmation`).

    It passes, if it was evaluated on the holdout with the same instrument as the champion (or as
    the model that it started from, where there is none), no table of either was changed, it was not
    trained on the holdout, its weights are those that were registered, and the lower end of the
    paired interval of its gain is above `min_gain`. One damaged table of either is a reason against
    it, whatever other tables say.

    All measurements of either with one instrument are pooled, each seed once. Of several common
    instruments the strict scorer's decides, then that of most problems, then of most samples, then
    the newest. The interval has the level of `looks.level_of_look`: each run that added evidence is
    a look, so that measuring again, or making versions until one is lucky, does not pay
    (`bench.referee` simulates both).
    """
    reasons: list[str] = []
    learned = archive.all_history.learned()  # a version may be another experiment's
    champion = champion_of(archive, version.model)
    against = _opponent(archive, version, champion)
    if champion is not None and champion.number == version.number:
        reasons.append("it is the champion already")
    elif champion is not None and champion.digest == version.digest:
        reasons.append(f"it has the same weights as the champion, {champion.name}")
    if not version.intact():
        reasons.append(f"its weights in {version.folder} no longer have the registered digest")
    runs = archive.history.loops_with({version.digest, against.digest} - {""})
    own = evidence_on(archive.store, version.digest, runs)
    others = evidence_on(archive.store, against.digest, runs)
    reasons += [*own.damaged, *(line for line in others.damaged if line not in own.damaged)]
    if not against.digest:
        reasons.append("there is no champion, and no run says which model it started from")
    for name, found in ((version.name, own), (against.name, others)):
        if not found.measured and not found.damaged and name:
            reasons.append(_not_evaluated(name, found))
    pairs = _common(others, own)
    evidence: RatedComparison | None = None
    held: GateLevel | None = None
    if pairs:
        pair = max(pairs, key=_weight)
        evidence = _compared(pair, runs)
        look = _look(archive, version, champion, against)
        held, gain = held_at(pair, look)
        if not held.low > min_gain:
            reasons.append(
                f"its gain is {points(gain)} points, {level_in_words(held.level)} interval "
                f"{points_interval(held)} at look {look}, and the lower end is not above "
                f"{points(min_gain)}"
            )
    elif own.measured and others.measured:
        parts = differing_parts(others.measured[0].instrument, own.measured[0].instrument)
        reasons.append(
            f"{version.name} and {against.name} were evaluated on the holdout with different "
            f"instruments, in {', '.join(parts)}"
        )
    reasons += _trained_on(archive.store, version, own, learned)
    return Decision(
        decision="refused" if reasons else "promoted",
        promoted=not reasons,
        reasons=tuple(reasons),
        candidate=Candidate(name=version.name, digest=version.digest, run_id=version.run_id),
        against=against,
        min_gain=min_gain,
        pairs_considered=len(pairs),
        held=held,
        repeated=(*others.repeated, *own.repeated),
        evidence=evidence,
        champion=None if reasons else version.name,
    )


def _opponent(
    archive: Archive, version: RegisteredVersion, champion: RegisteredVersion | None
) -> Opponent:
    if champion is not None:
        return Opponent(role="champion", name=champion.name, digest=champion.digest)
    maker = archive.all_history.with_id(version.run_id) if version.run_id else None
    tags = maker.tags if maker else {}
    return Opponent(
        role="start",
        name=tags.get("model_before", ""),
        digest=tags.get("model_digest_before", ""),
    )


def _common(others: Evidence, own: Evidence) -> list[Pair]:
    """The pooled measurements of both with each instrument that they have in common."""
    theirs, ours = pooled(others.measured), pooled(own.measured)
    return [(theirs[common], ours[common]) for common in theirs.keys() & ours.keys()]


def _compared(pair: Pair, runs: Sequence[RunRecord]) -> RatedComparison:
    compared = compare_measurements(*pair, runs)
    assert isinstance(compared, RatedComparison)  # the pair has one instrument
    return compared


def _not_evaluated(name: str, found: Evidence) -> str:
    elsewhere = f" (only on {', '.join(sorted(found.splits))})" if found.splits else ""
    return (
        f"{name} has no evaluation on the {HOLDOUT} split{elsewhere}; "
        f"threeloops eval --model {name} --split {HOLDOUT} makes one"
    )


def _trained_on(
    store: Store, version: RegisteredVersion, own: Evidence, runs: Sequence[RunRecord]
) -> list[str]:
    """Why the holdout is none for this version, where it was trained on some of it."""
    held = {p for side in own.measured for p in side.problems["prompt"].to_pylist()}
    reasons = []
    makers = list(made_by(version.digest, runs))
    if version.run_id and not makers:
        reasons.append(
            f"the learning run that made it, {version.run_id[:6]}, is gone, so nothing says what "
            "it was trained on"
        )
    for run in makers:
        try:
            shared = trained_prompts(store, run) & held
        except InputError as error:
            reasons.append(f"what run {run.name} was trained on cannot be read: {error}")
            continue
        if shared:
            reasons.append(f"run {run.name} was trained on {len(shared)} of the holdout's problems")
    return reasons


def _weight(pair: Pair) -> tuple[bool, int, int, int]:
    other, own = pair
    strict = f"{FINAL_INT_1.id}:{FINAL_INT_1.spec_digest}"
    return (
        own.instrument.scorer == strict,
        own.problems.num_rows,
        min(own.samples, other.samples),
        max(own.run.started_ms, other.run.started_ms),
    )


def held_at(pair: Pair, look: int) -> tuple[GateLevel, float]:
    """What the gain from the first to the second is held to at a look, and the gain."""
    level = level_of_look(look)
    gain = paired(*pair, level=level).difference
    return GateLevel(look=look, level=level, low=gain.low, high=gain.high), gain.value


def confirmation_number(archive: Archive, version: RegisteredVersion, decided: Decision) -> int:
    """Which confirmation the next one against the decision's opponent would be, from 1 on.

    Confirmations against a champion count from when the gate made it one. An opponent that the gate
    did not choose can be made anew for each: against such a one, all count whose opponent was
    learned from the same base.
    """
    champion, opponent = champion_of(archive, version.model), decided.against.digest
    since = champion_since_ms(archive, champion) if champion else 0
    earlier = confirmed_against(archive.all_history, since)
    if since:
        return 1 + earlier.count(opponent)
    learned = archive.all_history.learned(deleted=True)
    bases = {one: base_of(one, learned) for one in {opponent, *earlier}}
    return 1 + sum(bases[one] == bases[opponent] for one in earlier)


def _look(
    archive: Archive,
    version: RegisteredVersion,
    champion: RegisteredVersion | None,
    against: Opponent,
) -> int:
    """Which look at evidence against this opponent it is, over everything that was learned.

    Looks count over all registered versions, under whatever name, and over what any learning run
    made, deleted runs too. They count from when the opponent became champion. A version that had
    been sampled before could be chosen for what was known of it, so for such a one they count from
    the beginning.
    """
    runs = archive.all_history.every(deleted=True)
    crowned = champion_since_ms(archive, champion) if champion else 0
    first = first_sampled_ms(runs, version.digest)
    since = crowned if first is not None and first >= crowned else 0
    made = {run.tags.get("model_digest_after", "") for run in runs if run.loop is LEARNING}
    candidates = {version.digest} | registered_digests(archive) | (made - {""})
    return looks(runs, candidates, against.digest, since)


def still_against(archive: Archive, version: RegisteredVersion, decided: Decision) -> Decision:
    """The decision, refused where it is not about the present champion any more.

    Measuring takes long enough for somebody to give the alias to another version by hand.
    """
    champion = champion_of(archive, version.model)
    now = champion.name if champion else ""
    if not decided.promoted or now == (
        decided.against.name if decided.against.role == "champion" else ""
    ):
        return decided
    return refused(
        decided,
        f"while it was measured, {now or 'none'} was made the champion in place of "
        f"{decided.against.name}; ask again",
    )


def refused(decided: Decision, reason: str) -> Decision:
    """The decision, refused for one more reason."""
    return decided.model_copy(
        update={
            "decision": "refused",
            "promoted": False,
            "champion": None,
            "reasons": (*decided.reasons, reason),
        }
    )
