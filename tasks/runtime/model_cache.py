"""The policies and the learner that one process holds in memory, found by reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifacts.store.policy_folders import PolicyFolders
from policy.learning.learner import Learner
from policy.learning.off_policy import OffPolicy
from policy.model.adapter import add_adapter
from policy.model.load import Policy, load_policy, resolve_device
from policy.model.precision import arithmetic_of, compute_dtype
from schemas.config import Compute, LearningConfig
from schemas.errors import StoreError
from schemas.identity import derive_seed
from schemas.references import PolicyRef

if TYPE_CHECKING:
    from policy.parallel.group import Group


class ModelCache:
    """One policy besides the learner's, and one learner.

    A reference stays valid without them: what is not in memory is loaded again from its folder.
    With a `group`, the process that leads it has all others hold the same learner.
    """

    def __init__(self, folders: PolicyFolders, group: Group | None = None) -> None:
        self._folders, self._group = folders, group
        self._policies: dict[str, Policy] = {}
        self._learners: dict[str, Learner] = {}

    def policy(self, reference: PolicyRef, compute: Compute) -> Policy:
        """The policy that a reference names; loaded from its folder unless it is in memory.

        Raises StoreError for a policy in the middle of learning that this process does not hold.
        """
        if reference.step:
            return self.learner(reference).policy
        held = self._policies.get(reference.digest)
        if held is None or not _computes_as(held, compute):
            self._policies.clear()
            held = self._policies[reference.digest] = self._load(reference, compute)
        return held

    def learner(self, reference: PolicyRef) -> Learner:
        """The learner that has reached this reference's step; StoreError where there is none."""
        if reference.digest not in self._learners:
            raise StoreError(
                f"the learner at step {reference.step} is not in this process",
                reference.name,
                "go on from its checkpoint with --resume",
            )
        return self._learners[reference.digest]

    def start_learner(self, start: PolicyRef, config: LearningConfig) -> Learner:
        """A learner whose policy and reference both start as this policy.

        Each has its own weights, unless an adapter learns beside weights that both can share.
        """
        if self._group is None or not self._group.leads:
            return self.new_learner(start, config)
        self._group.tell(
            {"do": "start", "start": start.model_dump(), "config": config.model_dump(mode="json")}
        )
        made: list[Learner] = []

        def make() -> bytes:
            made.append(self.new_learner(start, config))
            return b""

        self._group.together(make, divided=config.shard_weights)
        return made[0]

    def new_learner(self, start: PolicyRef, config: LearningConfig) -> Learner:
        """As `start_learner`, in this process alone."""
        reference = self.policy(start, config.compute)
        settings = config.learning
        if config.shard_weights:
            assert self._group is not None
            from policy.parallel.sharding import shard_weights

            del self._policies[start.digest]
            shard_weights(reference.model, self._group)  # before there is a second copy
            policy = self._load(start, config.compute)
            shard_weights(policy.model, self._group)
        elif settings.adapter == "none":
            policy = self._load(start, config.compute)
        else:
            del self._policies[start.digest]  # from here on it is the learner's, not the start
            policy = reference
            add_adapter(
                policy.model,
                rank=settings.lora_rank,
                alpha=settings.lora_alpha,
                seed=derive_seed("adapter", config.seed),
            )
        own_reference = reference.model if policy is not reference else None
        temperature = config.sampling.temperature
        if self._group is None:
            return Learner(
                policy,
                own_reference,
                settings,
                config.steps,
                temperature=temperature,
                off_policy=_off_policy(config),
            )
        from policy.learning.ranked_learner import RankedLearner

        return RankedLearner(
            policy,
            own_reference,
            settings,
            config.steps,
            group=self._group,
            temperature=temperature,
        )

    def keep_learner(self, reference: PolicyRef, learner: Learner) -> None:
        """Hold the learner under the step it has reached, and no longer under an earlier one."""
        self._learners.clear()
        self._learners[reference.digest] = learner
        self._tell("keep", policy=reference.model_dump())

    def forget(self) -> None:
        """Let go of everything held in memory."""
        self._policies.clear()
        self._learners.clear()
        self._tell("forget")

    def _tell(self, what: str, **more: object) -> None:
        if self._group is not None and self._group.leads:
            self._group.tell({"do": what, **more})

    def _load(self, reference: PolicyRef, compute: Compute) -> Policy:
        """The policy of a folder, if its files are those of the reference still."""
        folder = self._folders.find(reference)
        loaded = load_policy(
            folder,
            name=reference.name,
            device=compute.device,
            precision=compute.precision,
            digest=reference.digest,
        )
        if (now := self._folders.digest(folder)) != reference.digest:
            raise StoreError(
                f"the model in {folder} was changed while it was used "
                f"(expected {reference.digest[:12]}, found {now[:12]})",
                reference.name,
                "put back what was there, or start again",
            )
        return loaded


def _computes_as(held: Policy, compute: Compute) -> bool:
    """Whether a policy in memory is where, and as precise as, it is asked for."""
    place = resolve_device(compute.device)
    dtype = compute_dtype(place, compute.precision)
    return held.device.type == place.type and arithmetic_of(held.model).dtype == dtype


def _off_policy(config: LearningConfig) -> OffPolicy | None:
    if not config.sampler.max_off_policy_steps:
        return None
    return OffPolicy(config.sampler.max_off_policy_steps, config.sampler.importance_cap)
