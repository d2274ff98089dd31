"""One policy-gradient update after another, with everything needed to go on bit for bit.

The model stays in eval() for sampling and for the update. With dropout, the policy that is
differentiated would not be the one that sampled, and the gradient would belong to another
objective.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from policy.attention.prefix_tree import Tokens
from policy.files.atomic_folder import atomic_folder
from policy.files.saving import saving
from policy.learning.can_learn import check_can_learn
from policy.learning.checkpoint import (
    check_same,
    read_earlier,
    read_state,
    trainable,
    write_earlier,
    write_state,
)
from policy.learning.gradient import (
    Outcome,
    PolicyAndReference,
    accumulate_gradient,
    gradients_of,
)
from policy.learning.guard import KlReading, refuse_bad_update
from policy.learning.objective import RunningMean
from policy.learning.off_policy import (
    OffPolicy,
    RecentWeights,
    Served,
    largest_gap,
    truncated_share,
)
from policy.learning.recompute import recomputable_layers
from policy.learning.schedule import scheduled_rate
from policy.learning.step_batch import StepBatch, flat_logprobs, step_batch
from policy.learning.step_metrics import (
    StepMetrics,
    Update,
    completion_sums,
    sampling_gap,
    step_metrics,
)
from policy.logprobs.completion_logprobs import CompletionLogprobs
from policy.model.adapter import is_adapted, merged_weights
from policy.model.load import Policy, quiet_transformers
from policy.model.packed import weights_changed
from policy.model.passes import automatic_budget, plan_passes
from policy.model.precision import arithmetic_of
from schemas.config import LearningSettings
from schemas.errors import InputError, StoppedError


class Learner:
    """A policy, its frozen reference and an optimiser.

    `policy.model` is updated in place. `reference_model` is a separate copy of the policy that the
    run started from; for a model with an adapter it is None, and the reference is the model with
    its adapter off, which needs no second copy. `temperature` is the one that the completions were
    sampled at; the objective is that of the policy at this temperature.
    """

    processes = 1  # that share the memory of the policy's device

    def __init__(
        self,
        policy: Policy,
        reference_model: PreTrainedModel | None,
        settings: LearningSettings,
        total_steps: int,
        *,
        temperature: float = 1.0,
        off_policy: OffPolicy | None = None,
    ) -> None:
        check_can_learn(policy.model, reference_model, settings, temperature)
        self.policy = policy
        if reference_model is not None:
            reference_model.requires_grad_(False).train(False)
        self.reference_model = reference_model
        self.settings = settings
        self.total_steps = total_steps
        self.temperature = temperature
        self.steps_done = 0
        self.running_mean = RunningMean()
        policy.model.train(False)
        if settings.gradient_checkpointing:
            recomputable_layers(policy.model)
        self._models = PolicyAndReference(
            policy.model, reference_model, self._compute(), temperature
        )
        self._parameters = trainable(policy.model)
        self._optimizer = torch.optim.AdamW(
            self._parameters.values(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,  # one pass over the weights instead of eight
        )
        self.off_policy = off_policy
        self.recent = None if off_policy is None else RecentWeights(self._parameters, off_policy)
        if self.recent is not None:
            self.recent.note(0)

    def step(
        self,
        prompts: Sequence[Tokens],
        completions: Sequence[Tokens],
        sampling_logprobs: Sequence[Sequence[float]] | None,
        rewards: Any,
        *,
        earlier_kl: Sequence[KlReading] = (),
        max_kl_nats: float | None = None,
        served: Served | None = None,
    ) -> StepMetrics:
        """One update from N completions of each of B prompts.

        `prompts` are B lists of token ids, `completions` B·N of them in the order of the prompts,
        each with its end token where the model ended it; `rewards` is [B, N]. All completions must
        have been sampled from the policy as it is now, which is checked against the
        `sampling_logprobs` that were recorded with them, in nats, one list a completion. Where a
        server sampled, `served` says from the policy of which step, and they must be those of it.

        Raises InputError for shapes that do not fit and, with weights and counters untouched,
        NonFiniteError for a loss or gradient that is not finite, KlLimitError where this step and
        the ones before it (`earlier_kl`, see `guard.refuse_bad_update`) are further from the
        reference than `max_kl_nats` nats a completion, on average, and StaleSamplesError for
        completions of another policy.
        """
        # check that everything fits together, before anything is computed
        batch = step_batch(prompts, completions, rewards, self.policy.model.device)
        sampled = flat_logprobs(sampling_logprobs, batch) if sampling_logprobs is not None else None
        rate = scheduled_rate(
            self.settings.learning_rate, self.settings.schedule, self.steps_done, self.total_steps
        )
        budget = self._tokens_per_pass(max(map(len, prompts)) + max(map(len, completions)))
        if served is not None and sampled is None:
            raise InputError("a server's completions must come with their log-probabilities")
        if self.off_policy is not None and sampled is not None:
            batch = batch.with_sampled(sampled)

        # the gradient of the mean loss over all completions, and its norm over all weights
        self._optimizer.zero_grad(set_to_none=True)
        outcome = self._gradient(batch, budget)
        total = self._gradient_norm()
        norm = total.item()
        update = Update(self.steps_done + 1, norm, norm > self.settings.max_gradient_norm, rate)
        metrics = step_metrics(batch, outcome, sampled, update)
        if self.off_policy is not None and batch.sampled is not None:
            metrics = self._of_older_samples(metrics, outcome, batch, served, budget)

        # stop here, with everything as it was, where the update would do harm
        try:
            refuse_bad_update(
                metrics,
                earlier_kl=earlier_kl,
                max_kl_nats=max_kl_nats,
                max_gap_nats=largest_gap(arithmetic_of(self.policy.model).dtype, served),
                served=served is not None,
            )
        except StoppedError:
            self._optimizer.zero_grad(set_to_none=True)
            self._before_no_update()
            raise

        # update the weights; the signal enters the running mean from the next step on
        self._before_update(norm, rate)
        self._update(total, rate)
        self.running_mean = self.running_mean.updated(outcome.signal)
        self.steps_done += 1
        if self.recent is not None:
            self.recent.note(self.steps_done)
        return metrics

    def _of_older_samples(
        self,
        metrics: StepMetrics,
        outcome: Outcome,
        batch: StepBatch,
        served: Served | None,
        tokens_per_pass: int,
    ) -> StepMetrics:
        """The metrics with the gap to the policy that is said to have sampled."""
        assert self.off_policy is not None
        assert self.recent is not None
        age = 0 if served is None else self.steps_done - served.step
        logprobs = outcome.logprobs
        if age:
            with self.recent.standing_in(self.steps_done - age), torch.no_grad():
                logprobs = self._logprobs(batch, tokens_per_pass)
        off_policy, grain = self.off_policy, self.settings.reduction
        assert batch.sampled is not None
        return replace(
            metrics,
            sampling_gap_nats=sampling_gap(logprobs, batch.sampled[batch.mask].double(), batch),
            off_policy_steps=age,
            truncated_share=truncated_share(outcome.logprobs, batch, off_policy.cap, grain),
        )

    def _logprobs(self, batch: StepBatch, tokens_per_pass: int) -> Tensor:
        """Token log-probabilities [B, N, T] in nats, in as many parts as memory needs."""
        sizes = self._models.compute.sizes(batch.prompts, batch.completions)
        whole = torch.zeros(batch.mask.shape, device=batch.mask.device)
        for chosen in plan_passes(sizes, range(len(batch.prompts)), tokens_per_pass):
            of_part = self._models.policy_logprobs(batch.only(chosen))
            whole[chosen, :, : of_part.shape[-1]] = of_part
        return whole

    def sum_logprobs(self, prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[float]:
        """The log-probability in nats of each whole completion under the policy as it is now.

        The same N completions of each of B prompts as in `step`; one forward pass over them,
        without gradient, in as many parts as memory needs.
        """
        unrewarded = torch.zeros(len(prompts), len(completions) // len(prompts))
        batch = step_batch(prompts, completions, unrewarded, self.policy.model.device)
        longest = max(map(len, prompts)) + max(map(len, completions))
        return self._sums(batch, self._tokens_per_pass(longest))

    def _sums(self, batch: StepBatch, tokens_per_pass: int) -> list[float]:
        with torch.no_grad():
            return completion_sums(self._logprobs(batch, tokens_per_pass))

    def _gradient(self, batch: StepBatch, tokens_per_pass: int) -> Outcome:
        """Add the gradient of the batch's mean loss to the parameters'."""
        return accumulate_gradient(
            batch,
            self._models,
            self.settings,
            running_mean=self.running_mean.mean,
            tokens_per_pass=tokens_per_pass,
            cap=None if self.off_policy is None else self.off_policy.cap,
        )

    def _gradient_norm(self) -> Tensor:
        """The norm of the accumulated gradient over all weights."""
        return torch.nn.utils.get_total_norm(gradients_of(list(self._parameters.values())))

    def _before_update(self, norm: float, rate: float) -> None:
        """Nothing refuses the update; several processes agree on it here."""

    def _before_no_update(self) -> None:
        """The gradient is dropped; several processes agree on that here."""

    def _update(self, norm: Tensor, rate: float) -> None:
        """Clip the accumulated gradient of this norm, and apply it."""
        limit = self.settings.max_gradient_norm
        if norm.item() > limit:
            torch.nn.utils.clip_grads_with_norm_(self._parameters.values(), limit, norm)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        weights_changed(self._parameters.values())  # a fused step is not counted
        self._optimizer.zero_grad(set_to_none=True)

    def _tokens_per_pass(self, longest: int) -> int:
        recompute = self.settings.gradient_checkpointing
        asked = self.settings.max_tokens_per_pass
        return asked or automatic_budget(
            self.policy.model, longest, recompute=recompute, processes=self.processes
        )

    def save(self, folder: Path) -> None:
        """Write a checkpoint that `load` continues from byte for byte; whole or not at all."""
        weights, moments = self._state()
        with atomic_folder(folder) as partial:
            write_state(partial, weights, moments, self._counters())
            if self.recent is not None:
                write_earlier(partial, self.recent.state())

    def _compute(self) -> CompletionLogprobs:
        """How log-probabilities of the policy and its reference are computed."""
        return CompletionLogprobs(self.policy.model)

    def _state(self) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The weights that learn and the optimiser's moments, by their names in a checkpoint."""
        return self._parameters, self._moments()

    def _exported(self) -> Mapping[str, Tensor] | None:
        """The weights to export, where they are not those that the model holds."""
        model = self.policy.model
        return merged_weights(model) if is_adapted(model) else None

    def _moments(self) -> dict[str, Tensor]:
        """The optimiser's moments by their names in a checkpoint; none before the first step."""
        return {
            f"{moment}/{name}": self._optimizer.state[parameter][moment]
            for name, parameter in self._parameters.items()
            for moment in ("exp_avg", "exp_avg_sq")
            if self._optimizer.state[parameter]
        }

    def load(self, folder: Path) -> None:
        """Continue from the weights, the optimiser and the counters of a checkpoint.

        Raises InputError, with nothing changed, if it was saved with other settings or for another
        model.
        """
        weights, moments, state = read_state(folder)
        check_same(folder, weights, moments, state, self._parameters, self._counters())
        if self.recent is not None:
            self.recent.restore(read_earlier(folder))
        self._take_over(weights, moments, state["steps_done"])
        self.running_mean = RunningMean(*state["running_mean"])

    def _take_over(
        self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor], steps_done: int
    ) -> None:
        """Be where these weights and moments were, after so many steps; without moments at 0."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(weights[name])
        self._optimizer.state.clear()
        for name, parameter in self._parameters.items() if moments else ():
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(steps_done), device=parameter.device),
                "exp_avg": moments[f"exp_avg/{name}"].to(parameter.device),
                "exp_avg_sq": moments[f"exp_avg_sq/{name}"].to(parameter.device),
            }
        self.steps_done = steps_done

    def _counters(self) -> dict[str, Any]:
        return {
            "format": 1,
            "steps_done": self.steps_done,
            "total_steps": self.total_steps,
            "temperature": self.temperature,
            "running_mean": [self.running_mean.mean, self.running_mean.count],
            "settings": self.settings.model_dump(),
            "start": self.policy.digest,
            **({} if self.off_policy is None else {"off_policy": asdict(self.off_policy)}),
        }

    def export(self, folder: Path) -> None:
        """Write model and tokenizer as a plain transformers folder; whole or not at all.

        An adapter is merged into the weights, so that the folder loads without one.
        """
        model: Any = self.policy.model
        weights = self._exported()
        with quiet_transformers(), atomic_folder(folder) as partial, saving(folder):
            model.save_pretrained(partial, state_dict=weights)
            self.policy.tokenizer.save_pretrained(partial)
