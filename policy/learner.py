"""One policy-gradient update after another, with everything needed to go on bit for bit.

It does not sample, score, choose problems or track; it takes completions and their rewards.

The model stays in eval() for sampling and for the update alike. With dropout, the policy that is
differentiated would not be the one that sampled: the gradient would belong to another objective.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from policy.checkpoint import (
    digest_of_weights,
    read_state,
    trainable,
    whole_folder,
    write_state,
)
from policy.divergence import k1, k3
from policy.logprobs import Tokens, completion_mask, plain_logprobs
from policy.objective import (
    Objective,
    RunningMean,
    completion_losses,
    groups_with_signal,
)
from schemas.config import LearningSettings
from schemas.errors import InputError, ThreeLoopsError


class NonFiniteError(ThreeLoopsError):
    """A loss or gradient is not a finite number; the weights are as they were before the step."""


class Trainable(Protocol):
    """What of `policy.load.Policy` the learner uses."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


@dataclass(frozen=True)
class StepMetrics:
    """What one update measured, under the policy before the update.

    `kl_nats` is the mean over completions of the whole completion's log-ratio (k1: unbiased, either
    sign); `kl_nats_k3` the mean of the token-wise k3 summed over a completion (unbiased, never
    negative, far less noise). `entropy_nats_per_token` is minus the mean log-probability of the
    sampled tokens. `gradient_norm` is taken before clipping. `sampling_gap_nats` is the mean
    absolute difference per token from the sampler's log-probabilities, None if it gave none: well
    above rounding, it says that the completions came from another policy than the one updated (a
    different temperature, a truncated distribution, stale weights) and the gradient is biased.
    """

    step: int
    problems: int
    completions: int
    tokens: int
    loss: float
    reward_mean: float
    advantage_std: float
    groups_with_signal: int
    kl_nats: float
    kl_nats_k3: float
    entropy_nats_per_token: float
    gradient_norm: float
    clipped: bool
    learning_rate: float
    sampling_gap_nats: float | None
    passes: int


def scheduled_rate(base: float, schedule: str, step: int, total_steps: int) -> float:
    """The learning rate of step 0, 1, … `total_steps` − 1; `linear` falls from `base` towards 0.

    Raises InputError for `linear` after the last step, where nothing is left of the rate.
    """
    if schedule == "constant":
        return base
    if step >= total_steps:
        raise InputError(
            f"all {total_steps} steps of the linear learning-rate schedule are done",
            remedy="start with more steps, or use the constant schedule",
        )
    return base * (1.0 - step / total_steps)


class Learner:
    """A policy, its frozen reference and an optimiser.

    `policy.model` is updated in place. `reference_model` is the policy the run started from, a
    separate copy. `temperature` is the one that the completions were sampled at; the objective is
    then that of the policy at this temperature.
    """

    def __init__(
        self,
        policy: Trainable,
        reference_model: PreTrainedModel,
        settings: LearningSettings,
        total_steps: int,
        *,
        temperature: float = 1.0,
    ) -> None:
        if reference_model is policy.model:
            raise InputError(
                "the reference is the policy itself, so their divergence would always be 0",
                remedy="load the reference as a second copy",
            )
        if settings.kl_weight > 0 and (settings.kl_estimator, settings.kl_placement) == (
            "k1",
            "loss",
        ):
            raise InputError(
                "k1 as a loss has an expected gradient of zero: it would only add noise",
                where="kl_placement",
                remedy="put k1 in the reward, or use k2 as a loss",
            )
        if temperature <= 0:
            raise InputError(
                f"cannot learn from completions sampled at temperature {temperature}",
                where="temperature",
                remedy="sample at a temperature above 0",
            )
        self.policy = policy
        self.reference_model = reference_model.requires_grad_(False).train(False)
        self.settings = settings
        self.total_steps = total_steps
        self.temperature = temperature
        self.steps_done = 0
        self.running_mean = RunningMean()
        policy.model.train(False)
        self._parameters = trainable(policy.model)
        self._optimizer = torch.optim.AdamW(
            self._parameters.values(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )

    def step(
        self,
        prompts: Sequence[Tokens],
        completions: Sequence[Tokens],
        sampling_logprobs: Sequence[Sequence[float]] | None,
        rewards: Any,
    ) -> StepMetrics:
        """One update from N completions of each of B prompts.

        `prompts` are B lists of token ids, `completions` B·N of them in the order of the prompts,
        each with its end token where the model ended it; `rewards` is [B, N]. All completions must
        have been sampled from the policy as it is now.

        Raises InputError for shapes that do not fit and NonFiniteError, with the weights untouched,
        for a loss or gradient that is not finite.
        """
        scores = torch.as_tensor(rewards, dtype=torch.float32)
        _check_shapes(prompts, completions, scores)
        rate = scheduled_rate(
            self.settings.learning_rate, self.settings.schedule, self.steps_done, self.total_steps
        )
        scores = scores.to(self.policy.model.device)
        mask = completion_mask(completions, scores.device)
        self._optimizer.zero_grad(set_to_none=True)
        logprobs, reference, objective = self._accumulate(prompts, completions, mask, scores)
        loss = objective.losses.mean().item()
        norm = self._update(loss, rate)
        self.running_mean = self.running_mean.updated(objective.signal)
        self.steps_done += 1

        log_ratio = (logprobs - reference).double()
        tokens = int(mask.sum())
        return StepMetrics(
            step=self.steps_done,
            problems=len(prompts),
            completions=len(completions),
            tokens=tokens,
            loss=loss,
            reward_mean=scores.double().mean().item(),
            advantage_std=objective.advantages.std(correction=0).item(),
            groups_with_signal=int(groups_with_signal(scores).sum()),
            kl_nats=k1(log_ratio).sum().item() / len(completions),
            kl_nats_k3=k3(log_ratio).sum().item() / len(completions),
            entropy_nats_per_token=-logprobs.double().sum().item() / tokens,
            gradient_norm=norm,
            clipped=norm > self.settings.max_gradient_norm,
            learning_rate=rate,
            sampling_gap_nats=_gap(logprobs, sampling_logprobs, mask),
            passes=1,
        )

    def _accumulate(
        self,
        prompts: Sequence[Tokens],
        completions: Sequence[Tokens],
        mask: Tensor,
        rewards: Tensor,
    ) -> tuple[Tensor, Tensor, Objective]:
        """Add this batch's gradient to the parameters'; log-probabilities [C, T] and losses."""
        logprobs = plain_logprobs(self.policy.model, prompts, completions, self.temperature)
        with torch.no_grad():
            reference = plain_logprobs(self.reference_model, prompts, completions, self.temperature)
        shape = (*rewards.shape, -1)
        objective = completion_losses(
            logprobs.view(shape),
            reference.view(shape),
            mask.view(shape),
            rewards,
            baseline=self.settings.baseline,
            kl_weight=self.settings.kl_weight,
            kl_estimator=self.settings.kl_estimator,
            kl_placement=self.settings.kl_placement,
            reduction=self.settings.reduction,
            running_mean=self.running_mean.mean,
        )
        torch.autograd.backward(objective.losses.mean())
        return logprobs.detach(), reference, objective

    def _update(self, loss: float, rate: float) -> float:
        """Clip and apply the accumulated gradient; returns its norm before clipping."""
        gradients = []
        for parameter in self._parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        norm = torch.nn.utils.get_total_norm(gradients)
        if not math.isfinite(loss) or not math.isfinite(norm.item()):
            self._optimizer.zero_grad(set_to_none=True)
            raise NonFiniteError(
                f"step {self.steps_done + 1}: loss {loss}, gradient norm {norm.item()}; "
                "the weights are unchanged"
            )
        limit = self.settings.max_gradient_norm
        if norm > limit:
            torch.nn.utils.clip_grads_with_norm_(self._parameters.values(), limit, norm)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm.item()

    def save(self, folder: Path) -> None:
        """Write a checkpoint that `load` continues from byte for byte; whole or not at all."""
        moments = {
            f"{moment}/{name}": self._optimizer.state[parameter][moment]
            for name, parameter in self._parameters.items()
            for moment in ("exp_avg", "exp_avg_sq")
            if self._optimizer.state[parameter]
        }
        with whole_folder(folder) as partial:
            write_state(partial, self._parameters, moments, self._counters())

    def load(self, folder: Path) -> None:
        """Take over the weights, the optimiser and the counters of a checkpoint.

        Raises InputError, with nothing taken over, if it was saved with other settings or for
        another model.
        """
        weights, moments, state = read_state(folder)
        self._check_same(folder, weights, moments, state)
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(weights[name])
        self._optimizer.state.clear()
        for name, parameter in self._parameters.items() if moments else ():
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(state["steps_done"])),
                "exp_avg": moments[f"exp_avg/{name}"].to(parameter.device),
                "exp_avg_sq": moments[f"exp_avg_sq/{name}"].to(parameter.device),
            }
        self.steps_done = state["steps_done"]
        self.running_mean = RunningMean(*state["running_mean"])

    def _counters(self) -> dict[str, Any]:
        return {
            "format": 1,
            "steps_done": self.steps_done,
            "total_steps": self.total_steps,
            "temperature": self.temperature,
            "running_mean": [self.running_mean.mean, self.running_mean.count],
            "settings": self.settings.model_dump(),
        }

    def _check_same(
        self, folder: Path, weights: dict[str, Tensor], moments: dict[str, Tensor], state: Any
    ) -> None:
        """Raise InputError unless the checkpoint continues this very run."""
        mine = self._counters()
        compared = ["format", "temperature", "settings"]
        if self.settings.schedule != "constant":
            compared.append("total_steps")
        differing = [key for key in compared if state.get(key) != mine[key]]
        shapes = {name: value.shape for name, value in self._parameters.items()}
        if {name: value.shape for name, value in weights.items()} != shapes:
            differing.append("model")
        expected = 2 * len(shapes) if state.get("steps_done") else 0
        if len(moments) != expected:
            differing.append("optimizer")
        if differing:
            raise InputError(
                f"the checkpoint was saved with another {', '.join(differing)}",
                where=str(folder),
                remedy="resume with what the run was started with",
            )

    def weights_digest(self) -> str:
        """Hexadecimal SHA-256 over the policy's parameters: names, dtypes, shapes and bytes."""
        return digest_of_weights(self.policy.model)

    def export(self, folder: Path) -> None:
        """Write model and tokenizer as a plain transformers folder; whole or not at all."""
        with whole_folder(folder) as partial:
            self.policy.model.save_pretrained(partial)
            self.policy.tokenizer.save_pretrained(partial)


def _check_shapes(
    prompts: Sequence[Tokens], completions: Sequence[Tokens], rewards: Tensor
) -> None:
    problem = ""
    if rewards.dim() != 2 or rewards.numel() == 0:
        problem = f"rewards must be a table of B problems × N completions, not {rewards.shape}"
    elif len(prompts) != rewards.shape[0] or len(completions) != rewards.numel():
        problem = (
            f"{len(prompts)} prompts and {len(completions)} completions do not fit "
            f"rewards of shape {tuple(rewards.shape)}"
        )
    elif not all(prompts) or not all(completions):
        problem = "a prompt or a completion has no token"
    elif not rewards.isfinite().all():
        problem = "a reward is not a finite number"
    if problem:
        raise InputError(problem, where="step")


def _gap(
    logprobs: Tensor, sampling_logprobs: Sequence[Sequence[float]] | None, mask: Tensor
) -> float | None:
    if sampling_logprobs is None:
        return None
    flat = [value for row in sampling_logprobs for value in row]
    if len(flat) != int(mask.sum()):
        raise InputError("sampling_logprobs must have one number per token of the completions")
    given = torch.tensor(flat, dtype=torch.float64)
    return (logprobs[mask].double().cpu() - given).abs().mean().item()
