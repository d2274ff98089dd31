"""One process of several, for the tests: `python -m tests.policy.parallel.worker SCENE FOLDER`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from policy.learning.learner import Learner
from policy.learning.ranked_learner import RankedLearner
from policy.model.load import Policy, load_policy
from policy.parallel import join, watch
from policy.parallel.group import GivenUpError, Group
from policy.parallel.join import joined
from policy.parallel.place import Place, place_in
from policy.parallel.sharding import shard_weights, whole_weights
from policy.parallel.watch import EndedError
from policy.sampling.sample import Samples, sample
from schemas.config import Compute, LearningSettings, SamplingSettings
from schemas.errors import InputError, RanksError, StoppedError, ThreeLoopsError
from tests.policy.weights import digest_of_weights

STEPS = 5
SAMPLES = 4
# all alike in length, so that a pass of two problems has as many tokens in every part
PROMPTS = [[5, 6, 7, 8], [5, 6, 9, 9], [5, 6, 7, 11], [5, 6, 12, 3]]
SAMPLING = SamplingSettings(max_new_tokens=6)
EVERY_PROBLEM = 1  # tokens in a pass: each problem has one of its own
REFUSED = ("gap", "kl", "overflow")  # why a step must not be made
OVERFLOWS = [0.0, *[3e38] * (SAMPLES - 1)]  # finite rewards whose sum in float32 is not


def settings(**changed: Any) -> LearningSettings:
    chosen: dict[str, Any] = {
        "learning_rate": 3e-3,
        "schedule": "constant",
        "kl_weight": 0.1,
        "max_gradient_norm": 0.5,
        "max_tokens_per_pass": EVERY_PROBLEM,
    }
    return LearningSettings(**(chosen | changed))


def two(folder: Path, device: str = "cpu") -> tuple[Policy, Policy]:
    """Policy and reference."""
    first, second = (load_policy(folder, name="tiny", device=device) for _ in range(2))
    return first, second


def sampled(policy: Policy, prompts: list[list[int]], step: int, **more: Any) -> Samples:
    return sample(policy, prompts, samples=SAMPLES, settings=SAMPLING, seed=step, **more)


def rewards(samples: Samples, step: int) -> list[list[float]]:
    """Something to learn from, which differs within most groups: whether the length is odd."""
    each = [float((len(ids) + step) % 2) for ids in samples.token_ids]
    return [each[row : row + SAMPLES] for row in range(0, len(each), SAMPLES)]


def learn(learner: Learner, prompts: list[list[int]], steps: range) -> dict[str, Any]:
    """Some steps from samples of the policy itself; what came of it."""
    metrics = []
    for step in steps:
        with whole_weights(learner.policy.model):
            samples = sampled(learner.policy, prompts, step)
        made = learner.step(prompts, samples.token_ids, samples.logprobs, rewards(samples, step))
        metrics.append([made.loss, made.kl_nats, made.gradient_norm, made.passes, made.clipped])
    return {"metrics": metrics, "tokens": samples.token_ids}


def refused(learner: Learner, prompts: list[list[int]], step: int, why: str) -> str:
    """What is said of a step that must not be made; only the last problem's rewards overflow."""
    samples = sampled(learner.policy, prompts, step)
    logprobs: Sequence[Sequence[float]] = samples.logprobs
    earned, limit = rewards(samples, step), None
    match why:
        case "gap":
            logprobs = [[value - 0.01 for value in row] for row in logprobs]
        case "kl":
            limit = -1e9
        case "overflow":
            earned[-1] = OVERFLOWS
    try:
        learner.step(prompts, samples.token_ids, logprobs, earned, max_kl_nats=limit)
    except StoppedError as stop:
        return str(stop)
    raise AssertionError(f"{why}: not refused")


def learn_and_be_refused(
    learner: Learner, prompts: list[list[int]], weights: Callable[[], list[str]]
) -> dict[str, Any]:
    """After each step one that is refused, and a last step; with digests before and after each."""
    digests, said, metrics = [weights()], [], []
    for step, why in enumerate(REFUSED, 1):  # in step 0 nothing earns a reward
        metrics += learn(learner, prompts, range(step, step + 1))["metrics"]
        digests.append(weights())
        said.append(refused(learner, prompts, step, why))
        digests.append(weights())
    metrics += learn(learner, prompts, range(len(REFUSED) + 1, len(REFUSED) + 2))["metrics"]
    return {"digests": [*digests, weights()], "said": said, "metrics": metrics}


def follow(group: Group, learner: RankedLearner) -> None:
    """What `tasks.runtime.sharing.Follower` does for a learner."""
    while True:
        message = group.hear()
        try:
            match message["do"]:
                case "whole":
                    with whole_weights(learner.policy.model):
                        pass
                case "digest":
                    digests(group, learner)
                case name:
                    getattr(learner, f"follow_{name}")(message)
        except GivenUpError:
            continue


def digests(group: Group, learner: RankedLearner) -> list[str]:
    """The digest of each process's weights, by rank, on rank 0."""
    if group.leads:
        group.tell({"do": "digest"})
    mine = digest_of_weights(learner.policy.model).encode()
    return [answer.decode() for answer in group.together(lambda: mine)]


def ranked(group: Group, given: dict[str, Any]) -> RankedLearner:
    policy, reference = two(Path(given["model"]), given.get("device", "cpu"))
    if given.get("shard"):
        shard_weights(reference.model, group)
        shard_weights(policy.model, group)
    chosen = settings(**given.get("settings", {}))
    return RankedLearner(policy, reference.model, chosen, STEPS, group=group)


def scene_refused(group: Group, folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    learner = ranked(group, given)
    if not group.leads:
        follow(group, learner)
    return learn_and_be_refused(learner, given["prompts"], lambda: digests(group, learner))


def scene_learn(group: Group, folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    learner = ranked(group, given)
    if not group.leads:
        follow(group, learner)
    prompts, half = given["prompts"], folder / "half"
    metrics: list[Any] = []
    for step in range(STEPS):
        if step == 3 and given.get("resume"):
            learner.save(half)
            learner.load(half)
        if given.get("shard"):
            group.tell({"do": "whole"})
        told = learn(learner, prompts, range(step, step + 1))
        metrics += told["metrics"]
    sums = []
    if not given.get("shard"):
        completions = told["tokens"]
        sums = learner.sum_logprobs(prompts, completions)
    learner.export(folder / "model")
    exported = load_policy(folder / "model", name="made", device="cpu")
    return {
        "metrics": metrics,
        "digest": digest_of_weights(exported.model),
        "digests": [] if given.get("shard") else digests(group, learner),
        "tokens": told["tokens"],
        "sums": sums,
    }


def scene_failure(group: Group, folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """What rank 0 raises where the work of another fails, and that both go on."""

    def fails() -> bytes:
        if group.rank == 1:
            raise InputError("cannot be done", "here", "do that")
        return b"done"

    caught = ""
    try:
        group.together(fails)
    except InputError as error:
        caught = str(error)
    except GivenUpError:
        caught = "given up"
    answers = group.together(lambda: f"{group.rank}".encode())
    if not group.leads:
        assert caught == "given up"
    return {"caught": caught, "answers": [answer.decode() for answer in answers]}


def scene_gone(group: Group, folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """One process is ended or frozen while the other waits for it, or computes."""
    began = time.monotonic()
    if group.rank == given["who"]:
        os.kill(os.getpid(), getattr(signal, given["how"]))
    try:
        if given["busy"]:
            while True:
                torch.ones(300, 300) @ torch.ones(300, 300)
        group.together(lambda: b"here")
        group.together(lambda: b"here")
    except RanksError as error:
        return {"error": str(error), "seconds": time.monotonic() - began}
    return {"error": "", "seconds": 0.0}


def scene_words(group: Group, folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """One process raises an error of many lines: in its part of the work, or between two."""

    def fails() -> bytes:
        if group.rank == given["who"]:
            raise ValueError("first line\nsecond line")
        return b""

    if given["inside"]:
        with contextlib.suppress(GivenUpError):
            group.together(fails)
    else:
        fails()
    group.together(lambda: b"here")
    return {}


def scene_waits(group: Group, folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """One process is killed while the others wait for torch itself, which no watch interrupts."""
    if group.rank == given["who"]:
        os.kill(os.getpid(), signal.SIGKILL)
    torch.distributed.barrier()
    return {}


def die_at(moment: str, how: str) -> None:
    """Have this process killed or frozen at a moment of the forming of the group."""

    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), getattr(signal, how))

    setattr(join if moment == "resolve_device" else torch.distributed, moment, die)


def beat_late(seconds: float) -> None:
    """Have this process watch the others only after a while, as on a busy machine."""
    beat = watch.Watch._beat

    def late(self: watch.Watch) -> None:
        time.sleep(seconds)
        beat(self)

    watch.Watch._beat = late  # type: ignore[method-assign]


def run(scene: str, folder: Path) -> None:
    """The scene in this process, whose place the environment tells."""
    given = json.loads((folder / "given.json").read_text())
    place: Place | None = place_in(os.environ)
    assert place is not None
    if "fault_seconds" in given:
        watch.FAULT_SECONDS = given["fault_seconds"]
    if "late" in given:
        beat_late(given["late"])
    if str(place.rank) in given.get("refuses", {}):
        why = given["refuses"][str(place.rank)]
        join.refuse(place, None if why is None else InputError(*why))
        return
    if "dies" in given and given["who"] == place.rank:
        die_at(given["dies"], given["how"])
    identity = {"--samples": str(given.get("samples", {}).get(str(place.rank), 4))}
    try:
        with joined(
            place, Compute(device=given.get("device", "cpu"), precision="float32"), identity
        ) as group:
            told = globals()[f"scene_{scene}"](group, folder, given)
            if group.leads or scene == "gone":
                (folder / f"told-{place.rank}.json").write_text(json.dumps(told))
    except EndedError:
        pass
    except ThreeLoopsError as error:
        if place.leads or isinstance(error, RanksError):
            print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]))
