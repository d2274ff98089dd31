"""What several processes do together besides learning: sampling, and what those do that follow."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import BaseModel

from artifacts.registry.resolve import resolve_policy
from artifacts.tracking.archive import Archive
from engines.in_process import complete
from policy.learning.ranked_learner import RankedLearner
from policy.parallel.group import GivenUpError, Group
from policy.parallel.sharding import whole_weights
from schemas.completions import COMPLETIONS
from schemas.config import GenerationSettings, LearningConfig
from schemas.errors import InputError, StoreError
from schemas.frozen import Frozen
from schemas.references import PolicyRef
from tasks.runtime.model_cache import ModelCache

M = TypeVar("M", bound=BaseModel)


class Part(Frozen):
    """The problems that one process samples completions of.

    `within` are the first of their rows among those of a shard, and the number of all its rows,
    which share one `seed`. A `whole` shard is sampled as a process alone would sample it.
    """

    ids: tuple[str, ...]
    prompts: tuple[str, ...]
    seed: int
    within: tuple[int, int]
    whole: bool = False


def parts_of_a_shard(
    group: Group, problems: pa.Table, samples: int, seed: int
) -> list[Part | None]:
    """Whole problems of one shard for each process; each row has the numbers of the whole shard."""
    shares = [group.share(problems.num_rows, rank) for rank in range(group.size)]
    every = problems.num_rows * samples
    return [
        _part(problems.slice(share.start, len(share)), seed, (share.start * samples, every))
        if share
        else None
        for share in shares
    ]


def whole_shard(problems: pa.Table, samples: int, seed: int) -> Part:
    """One shard for one process, whose completions are those that any process would sample."""
    part = _part(problems, seed, (0, problems.num_rows * samples))
    return part.model_copy(update={"whole": True})


def _part(problems: pa.Table, seed: int, within: tuple[int, int]) -> Part:
    ids, prompts = (tuple(problems[name].to_pylist()) for name in ("problem_id", "prompt"))
    return Part(ids=ids, prompts=prompts, seed=seed, within=within)


def find_everywhere(group: Group, policy: PolicyRef) -> None:
    """Have each process find this policy on its host; InputError of one that does not; for rank 0.

    Whoever learns needs it, and would else say so when the others wait for it.
    """
    group.tell({"do": "find", "policy": policy.model_dump()})
    group.together(lambda: b"")


def sample_together(
    group: Group,
    models: ModelCache,
    policy: PolicyRef,
    settings: GenerationSettings,
    parts: Sequence[Part | None],
    on_progress: Callable[[int], None],
) -> list[pa.Table]:
    """The completions of each part, one a process, in the order given; for rank 0.

    What a host without this policy cannot sample, such as one that was just saved, rank 0 does.
    """
    group.tell(
        {
            "do": "sample",
            "policy": policy.model_dump(),
            "settings": settings.model_dump(mode="json"),
            "parts": [None if part is None else part.model_dump() for part in parts],
        }
    )

    def here(part: Part | None) -> bytes:
        return _sampled(group, models, policy, settings, part, on_progress)

    answers = group.together(lambda: here(parts[group.rank]))
    return [
        pa.ipc.open_stream(answer or here(part)).read_all()
        for part, answer in zip(parts, answers, strict=True)
        if part is not None
    ]


def _sampled(
    group: Group,
    models: ModelCache,
    policy: PolicyRef,
    settings: GenerationSettings,
    part: Part | None,
    on_progress: Callable[[int], None],
) -> bytes:
    """A part's completions as a stream of Arrow; nothing where this process has no part."""
    if part is None and policy.step == 0:
        return b""
    held = models.policy(policy, settings.compute)
    with whole_weights(held.model):
        if part is None:
            return b""
        on_progress(0)  # what follows takes the time that is left; loading took another
        table = complete(
            held,
            pa.table({"problem_id": part.ids, "prompt": part.prompts}),
            settings,
            seed=part.seed,
            within=part.within,
            processes=1 if part.whole else group.processes_on(held.device),
            on_progress=on_progress,
        )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, COMPLETIONS.arrow) as stream:
        stream.write_table(table.cast(COMPLETIONS.arrow))
    return bytes(sink.getvalue())


class Follower:
    """A process that does what rank 0 tells, until that has ended."""

    def __init__(self, group: Group, archive: Archive) -> None:
        self._group, self._archive = group, archive
        self._models = ModelCache(archive.folders, group)
        self._learner: RankedLearner | None = None

    def follow(self) -> None:
        """Do one thing after another; raises EndedError when all is over, RanksError when lost."""
        while True:
            message = self._group.hear()
            try:
                self._do(message)
            except GivenUpError:  # rank 0 raises the reason, and says what is next
                continue

    def _do(self, message: Any) -> None:
        match message["do"]:
            case "find":
                self._find(message)
            case "start":
                self._start(message)
            case "keep":
                self._models.keep_learner(_of(PolicyRef, message["policy"]), self._held())
            case "forget":
                self._learner = None
                self._models.forget()
            case "sample":
                self._sample(message)
            case "step":
                self._held().follow_step(message)
            case "sums":
                self._held().follow_sums(message)
            case "load":
                self._held().follow_load(message)
            case "give":
                self._held().follow_give(message)
            case other:
                raise AssertionError(f"rank 0 asks for {other}")

    def _find(self, message: Any) -> None:
        def found() -> bytes:
            self._found(_of(PolicyRef, message["policy"]))
            return b""

        self._group.together(found)

    def _start(self, message: Any) -> None:
        config = _of(LearningConfig, message["config"])

        def make() -> bytes:
            start = self._found(_of(PolicyRef, message["start"]))
            self._learner = None  # what it holds is to be free before there is another
            made = self._models.new_learner(start, config)
            assert isinstance(made, RankedLearner)
            self._learner = made
            return b""

        self._group.together(make, divided=config.shard_weights)

    def _sample(self, message: Any) -> None:
        given = message["parts"][self._group.rank]

        def sampled() -> bytes:
            policy = _of(PolicyRef, message["policy"])
            part = None if given is None else _of(Part, given)
            if part is not None and not policy.step:
                try:
                    self._found(policy)
                except InputError:
                    return b""
            settings = _of(GenerationSettings, message["settings"])
            return _sampled(self._group, self._models, policy, settings, part, lambda done: None)

        self._group.together(sampled)

    def _held(self) -> RankedLearner:
        assert self._learner is not None, "rank 0 has every learner started everywhere"
        return self._learner

    def _found(self, policy: PolicyRef) -> PolicyRef:
        """The same policy, once it is known where it lies on this host; InputError if nowhere."""
        try:
            self._archive.folders.find(policy)
        except StoreError:
            here = resolve_policy(self._archive, policy.name, lambda line: None)
            if here.digest != policy.digest:
                raise InputError(
                    "is another model on this host than on that of rank 0",
                    f"--model {policy.name}",
                    "put it on a file system that all hosts have",
                ) from None
        return policy


def _of(kind: type[M], given: Any) -> M:
    """What a message holds, as the value that it was made from."""
    return kind.model_validate_json(json.dumps(given))
