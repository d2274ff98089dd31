"""One frozen configuration per flow, validated at the edge and recorded whole.

Defaults that depend on the machine are not here; they are chosen and recorded at run time.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from schemas.frozen import Frozen
from schemas.own_template import OwnTemplate, named_or_written
from schemas.server import Sampler, ServerSettings, StepSampling

Baseline = Literal["none", "running_mean", "leave_one_out", "group_mean", "group_normalized"]
# these compare the completions of one problem with each other
GROUP_BASELINES: tuple[Baseline, ...] = ("leave_one_out", "group_mean", "group_normalized")
KlEstimator = Literal["k1", "k2", "k3"]
KlPlacement = Literal["loss", "reward"]
LossReduction = Literal["sequence", "token"]
Adapter = Literal["none", "lora"]
ADAPTER_LEARNING_RATE = 2e-4  # an adapter starts from zero and has far fewer weights
Precision = Literal["auto", "float32", "bfloat16"]
TaskRunner = Literal["threads", "dask", "ray"]
SelectionRule = Literal["oracle", "majority", "likelihood", "random"]
MOST = 10**9  # of anything that is counted
MOST_STEPS = 10**6
DEV = "dev"  # the split that settings may be chosen by
SELECTION_RULES: tuple[SelectionRule, ...] = ("oracle", "majority", "likelihood", "random")
# a template by its name or file; what a file said stands in its place as soon as it was read
Template = Annotated[
    Annotated[str, Tag("name")] | Annotated[OwnTemplate, Tag("written")],
    Discriminator(named_or_written),
]


class SamplingSettings(Frozen):
    """How completions are sampled. With the defaults, from the policy's whole distribution."""

    temperature: Annotated[
        float, Field(ge=0, le=100, description="1 is the policy itself, 0 is greedy")
    ] = 1.0
    top_k: Annotated[
        int, Field(ge=0, le=MOST, description="keep the k likeliest tokens; 0 keeps all")
    ] = 0
    top_p: Annotated[
        float,
        Field(gt=0, le=1, description="keep the likeliest tokens up to this sum; 1 keeps all"),
    ] = 1.0
    max_new_tokens: Annotated[int, Field(ge=1, le=4096, description="longest completion")] = 16


class Columns(Frozen):
    """Where a file has what a problem needs, how its answer is read, and how splits are made."""

    prompt_column: Annotated[str, Field(min_length=1, description="column with the question")] = (
        "prompt"
    )
    answer_column: Annotated[
        str, Field(min_length=1, description="column with the right answer")
    ] = "expected_answer"
    answer_pattern: Annotated[
        str | None,
        Field(description="regular expression whose one group is the answer, in its last match"),
    ] = None
    id_column: Annotated[
        str, Field(min_length=1, description="column with ids; without one they are made")
    ] = "id"
    family_column: Annotated[str, Field(min_length=1, description="column with families")] = (
        "family"
    )
    split_column: Annotated[str, Field(min_length=1, description="column with splits")] = "split"
    split_by_hash: Annotated[
        str | None,
        Field(description="split a file that has no splits by its prompts, as 80/10/10 or 80/20"),
    ] = None

    @field_validator("answer_pattern")
    @classmethod
    def _has_one_group(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                groups = re.compile(value).groups
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"is no regular expression ({error})") from None
            if groups != 1:
                raise ValueError(f"has {groups} groups; put the answer into one: (-?[0-9]+)")
        return value

    @field_validator("split_by_hash")
    @classmethod
    def _has_two_or_three_shares(cls, value: str | None) -> str | None:
        if value is not None:
            shares = re.fullmatch(r"[0-9]{1,4}(?:/[0-9]{1,4}){1,2}", value, re.ASCII)
            if not shares or not all(int(part) for part in value.split("/")):
                raise ValueError("is not two or three shares, as 80/20 or 80/10/10")
        return value


class LearningSettings(Frozen):
    """One policy-gradient update: maximise E[reward] − β·KL(policy ‖ reference)."""

    baseline: Annotated[Baseline, Field(description="advantage = reward - baseline")] = (
        "leave_one_out"
    )
    kl_weight: Annotated[
        float, Field(ge=0, description="beta of the KL penalty, reward per nat")
    ] = 0.01
    kl_estimator: Annotated[KlEstimator, Field(description="estimator of the KL divergence")] = "k1"
    kl_placement: Annotated[KlPlacement, Field(description="where the KL penalty is added")] = (
        "reward"
    )
    reduction: Annotated[LossReduction, Field(description="sum of token losses, or their mean")] = (
        "sequence"
    )
    learning_rate: Annotated[
        float,
        Field(
            gt=0, description=f"learning rate of AdamW; {ADAPTER_LEARNING_RATE:g} with an adapter"
        ),
    ] = 2e-5
    schedule: Annotated[
        Literal["constant", "linear"],
        Field(description="learning rate over the steps; linear falls to 0"),
    ] = "linear"
    max_gradient_norm: Annotated[
        float, Field(gt=0, description="clip the gradient above this norm")
    ] = 1.0
    weight_decay: Annotated[float, Field(ge=0, description="weight decay of AdamW")] = 0.0
    adapter: Annotated[
        Adapter, Field(description="lora trains low-rank adapters beside frozen weights")
    ] = "none"
    lora_rank: Annotated[
        int, Field(ge=1, le=MOST, description="rank of each linear layer's adapter")
    ] = 16
    lora_alpha: Annotated[float, Field(gt=0, description="scales adapters by alpha / rank")] = 32.0
    gradient_checkpointing: Annotated[
        bool, Field(description="compute activations twice instead of keeping them")
    ] = False
    max_tokens_per_pass: Annotated[
        int | None,
        Field(
            ge=1,
            le=MOST,
            description="split a step's gradient; never splits a problem; default by memory",
        ),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _rate_of_the_adapter(cls, given: Any) -> Any:
        """The default learning rate is the adapter's, where there is one."""
        if isinstance(given, dict) and given.get("adapter", "none") != "none":
            return {"learning_rate": ADAPTER_LEARNING_RATE} | given
        return given


class Compute(Frozen):
    """Where a model computes, and how precisely, as a configuration says it."""

    device: str = "auto"
    precision: Precision = "auto"


class GenerationSettings(Frozen):
    """How completions are made: `samples` of each problem, `shard_size` problems at a time.

    `computed_by` names the numerics of stored completions that are to be found again. Empty, they
    are those of this process. `server` says how a policy that a server holds is asked. `for_step`
    marks those that a step of learning samples, whose table takes them over.
    """

    template: Template
    sampling: SamplingSettings
    samples: int
    seed: int
    shard_size: int
    device: str = "auto"
    precision: Precision = "auto"
    computed_by: str = ""
    server: ServerSettings | None = None
    for_step: bool = False

    @property
    def compute(self) -> Compute:
        """Where and how precisely a model computes."""
        return Compute(device=self.device, precision=self.precision)


class RunConfig(Frozen):
    """What every loop needs: which policy, which problems, which instrument."""

    model: Annotated[
        str, Field(description="default, a hub id, a folder, or models:/NAME@ALIAS")
    ] = "default"
    dataset: Annotated[
        str,
        Field(
            description="arithmetic, a file, a folder, hf:OWNER/NAME[:CONFIG][@REVISION], or "
            "rg:GENERATOR[:SETTING=VALUE,...]"
        ),
    ] = "arithmetic"
    columns: Annotated[Columns, Field(description="how a file of one's own is read")] = Columns()
    split: Annotated[str, Field(min_length=1, description="the split to measure on")] = "holdout"
    limit: Annotated[
        int | None, Field(ge=1, le=MOST, description="measure only the first problems")
    ] = None
    seed: Annotated[int, Field(ge=0, lt=2**63, description="seed of all random numbers")] = 0
    sampling: Annotated[SamplingSettings, Field(description="how completions are sampled")] = (
        SamplingSettings()
    )
    template: Annotated[
        Template,
        Field(description="prompt template: NAME@VERSION, or a file, .yaml or .toml"),
    ] = "few_shot_chat@1"
    scorer: Annotated[str, Field(description="NAME@VERSION, or package.module:function")] = (
        "final_int@1"
    )
    shard_size: Annotated[
        int, Field(ge=1, le=MOST, description="problems in one shard of generation")
    ] = 64
    device: Annotated[
        Literal["auto", "cpu", "cuda"], Field(description="auto uses a GPU if there is one")
    ] = "auto"
    precision: Annotated[
        Precision,
        Field(description="of matrix products; auto is bfloat16 where the processor has it"),
    ] = "auto"
    server: Annotated[
        ServerSettings | None,
        Field(
            exclude_if=lambda value: value is None,
            description="a server that has the model, in place of this process",
        ),
    ] = None
    task_runner: Annotated[
        TaskRunner | None,
        Field(
            exclude_if=lambda value: value is None,
            description="hand shards to threads, or to the workers of a Dask or Ray cluster",
        ),
    ] = None

    @property
    def compute(self) -> Compute:
        """Where and how precisely a model computes."""
        return Compute(device=self.device, precision=self.precision)

    def _generation(self, samples: int, shard_size: int) -> GenerationSettings:
        return GenerationSettings(
            template=self.template,
            sampling=self.sampling,
            samples=samples,
            seed=self.seed,
            shard_size=shard_size,
            device=self.device,
            precision=self.precision,
            server=self.server,
        )


class EvalConfig(RunConfig):
    """Loop A: measure a policy, or stored completions, with one scorer."""

    samples: Annotated[int, Field(ge=1, le=4096, description="completions a problem (N)")] = 1
    completions: Annotated[
        str | None,
        Field(description="score stored completions: a run, a table, or a file of any program"),
    ] = None
    allow_missing: Annotated[
        bool, Field(description="with --completions: leave out problems that were not answered")
    ] = False

    def generation(self) -> GenerationSettings:
        """How the completions are made, where they are not stored ones."""
        return self._generation(self.samples, self.shard_size)


class SelectionConfig(EvalConfig):
    """Loop B: sample N completions a problem and pick one by a rule."""

    samples: Annotated[int, Field(ge=1, le=4096, description="completions a problem (N)")] = 8
    pick: Annotated[
        tuple[SelectionRule, ...] | None,
        Field(min_length=1, description="a rule; may be repeated; default all that can be used"),
    ] = None


class LearningConfig(RunConfig):
    """Loop C: train a policy on `train_split`, measured before and after on `split`."""

    train_split: Annotated[str, Field(min_length=1, description="the split to train on")] = "train"
    steps: Annotated[int, Field(ge=1, le=MOST_STEPS, description="updates of the policy")] = 100
    problems_per_step: Annotated[int, Field(ge=1, le=MOST, description="problems a step (B)")] = 16
    samples: Annotated[
        int, Field(ge=1, le=MOST, description="completions a problem in a step (N)")
    ] = 8
    evaluation_samples: Annotated[
        int, Field(ge=1, le=MOST, description="completions a problem, before and after")
    ] = 4
    dev_every: Annotated[
        int,
        Field(
            ge=0,
            le=MOST_STEPS,
            description="steps between measurements on the split dev; 0 is never",
        ),
    ] = 10
    dev_samples: Annotated[
        int, Field(ge=1, le=MOST, description="completions a problem, on dev")
    ] = 1
    dev_limit: Annotated[
        int, Field(ge=2, le=MOST, description="largest number of problems on dev")
    ] = 120
    learning: Annotated[LearningSettings, Field(description="the update of the policy")] = (
        LearningSettings()
    )
    logprob_after: Annotated[
        bool,
        Field(description="record completions' log-probabilities after each update; costs a sixth"),
    ] = False
    shard_weights: Annotated[
        bool,
        Field(
            exclude_if=lambda value: not value,
            description="with torchrun: split weights, gradients and moments over the processes",
        ),
    ] = False
    sampler: Sampler = StepSampling()
    max_minutes: Annotated[
        float | None,
        Field(gt=0, le=MOST, description="take no step that would end the run later than this"),
    ] = None
    max_kl_nats: Annotated[
        float | None,
        Field(gt=0, description="stop if KL to the start exceeds it, in nats a completion"),
    ] = None
    checkpoint_every: Annotated[
        int, Field(ge=1, le=MOST, description="steps between checkpoints")
    ] = 25
    keep_checkpoints: Annotated[
        int,
        Field(
            ge=0,
            le=MOST,
            description="newest checkpoints to keep at the end, each as large as 3 models",
        ),
    ] = 0
    register_as: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9._-]+$", description="name of the registered model")
    ] = "threeloops"

    def generation(self) -> GenerationSettings:
        """How the completions of a step are made: all its problems are one shard."""
        shared = self._generation(self.samples, self.problems_per_step)
        return shared.model_copy(update={"for_step": True})

    def evaluation(self) -> EvalConfig:
        """The measurement before and after learning, exactly as loop A would take it here."""
        shared = {name: getattr(self, name) for name in RunConfig.model_fields}
        return EvalConfig(**shared | {"server": None}, samples=self.evaluation_samples)

    def development(self) -> EvalConfig:
        """A measurement on `DEV` while learning goes on: cheap, and never the result."""
        changed = {"split": DEV, "limit": self.dev_limit, "samples": self.dev_samples}
        return self.evaluation().model_copy(update=changed)

    def dev_eval_steps(self) -> frozenset[int]:
        """The steps after which `DEV` is measured: 0, each multiple of `dev_every`, the last."""
        if not self.dev_every:
            return frozenset()
        return frozenset({*range(0, self.steps, self.dev_every), self.steps})
