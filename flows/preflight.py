"""What can be known to be wrong before anything is loaded, started or written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from artifacts.datasets.checked import ALL_ROWS
from artifacts.datasets.problems import Datasets, refuse_shared_prompts
from artifacts.prompts.shown_problems import refuse_shown_problems
from artifacts.prompts.template_file import names_file, read_template, template_of
from artifacts.registry.hub import check_on_hub
from artifacts.registry.resolve import DEFAULT, check_model_name, known_folder, resolve_policy
from artifacts.store.shared.objects import check_store
from artifacts.unsent.prompts import PREFIX
from flows.orchestration.task_runners import check_task_runner
from flows.sampler import check_sampler, with_tokenizer
from policy.learning.batches import batch_rows
from policy.model.load import check_weights, load_config, resolve_device
from policy.model.memory import Needs, free_bytes, learning_needs, measuring_needs, refuse_too_large
from policy.model.readiness import check_can_answer
from policy.model.template import get_template
from policy.parallel.place import place_in
from schemas.config import (
    DEV,
    GROUP_BASELINES,
    EvalConfig,
    LearningConfig,
    RunConfig,
    SelectionConfig,
)
from schemas.errors import InputError
from schemas.files import source_of
from schemas.imported import Part
from schemas.references import PolicyRef
from scorers.final_int import FINAL_INT_1
from scorers.final_line_int import FINAL_LINE_INT_1
from scorers.registry import get_scorer
from tasks.runtime.runtime import Runtime

C = TypeVar("C", bound=RunConfig)


def preflight(runtime: Runtime, config: C) -> C:
    """The configuration to run; InputError for the first thing in it that cannot work.

    What the command that starts the flow has just checked is not checked again.
    """
    checked, runtime.checked = runtime.checked, None
    if checked == config and runtime.group is None:
        return with_precision(config)
    config = check_names(runtime, config)
    check_model(runtime, config)
    return with_precision(config)


def with_precision(config: C) -> C:
    """The configuration with the precision that `auto` is on this machine, where it computes."""
    elsewhere = config.server is not None and not isinstance(config, LearningConfig)
    if replayed(config) is not None or elsewhere or config.task_runner in ("dask", "ray"):
        return config
    from policy.model.numerics import decided

    return config.model_copy(update={"precision": decided(config.compute).precision})


def check_names(runtime: Runtime, config: C) -> C:
    """InputError for what is not there or does not fit together; takes a moment.

    Returns the configuration. What was not named is filled in: the split that a replayed file of
    completions answers, what a file says as the template, the tokens that answers to it need, and
    the commit of a dataset of the hub.
    """
    if isinstance(config, LearningConfig):
        check_sampler(runtime.ranks, config)
    _check_task_runner(runtime, config)
    if runtime.archive.shared is not None:
        check_store(runtime.archive.shared)
    scorer = get_scorer(config.scorer)
    config = with_template(config)
    template = get_template(config.template)
    if template.reasons and scorer is FINAL_INT_1 and replayed(config) is None:
        raise InputError(
            f"{scorer.id} pays for one line alone, and {template.id} asks for reasoning before it",
            f"--template {template.id}",
            f"add --scorer {FINAL_LINE_INT_1.id}",
        )
    config = with_answer_tokens(config)
    if isinstance(config, EvalConfig) and config.allow_missing and config.completions is None:
        raise InputError("is for stored completions", "--allow-missing", "add --completions")
    if replayed(config) is None or source_of(str(replayed(config))) == "answers":
        pinned = runtime.datasets.pinned(config.dataset)
        config = config.model_copy(update={"dataset": pinned})
        check_splits(runtime.datasets, config)
    if (source := replayed(config)) is not None:
        config = _of_what_was_answered(runtime, config, source)
    else:
        if config.server is None or isinstance(config, LearningConfig):
            check_model_name(runtime.archive, config.model)
        measured = runtime.datasets.load(config.dataset, config.split, config.limit, config.columns)
        refuse_shown_problems(template, measured, f"{config.dataset} {config.split}")
    if isinstance(config, LearningConfig):
        _check_learning(runtime.datasets, config)
        _check_ranks(runtime.ranks, config)
    return config


def check_splits(datasets: Datasets, config: RunConfig) -> None:
    """InputError for a split that is named now for a file that has none: all rows would be taken.

    The defaults count as not named.
    """
    for name in ("split", "train_split"):
        split, field = getattr(config, name, None), type(config).model_fields.get(name)
        if not datasets.strict or field is None or split in (field.default, ALL_ROWS):
            continue
        if not datasets.has_splits(config.dataset, config.columns):
            raise InputError(
                f"{config.dataset} has no splits, and all its rows would be taken",
                f"--{name.replace('_', '-')} {split}",
                "leave it out, name the column with --split-column, or add --split-by-hash 80/20",
            )


def _check_task_runner(runtime: Runtime, config: RunConfig) -> None:
    option = f"--task-runner {config.task_runner}"
    if config.task_runner and isinstance(config, LearningConfig):
        refuse_workers(config.task_runner)
    if config.task_runner and (place := place_in(os.environ)) is not None:
        raise InputError(
            f"each of {place.size} processes would hand all shards to the workers",
            f"{option} under torchrun or srun",
            "start the command by itself: the workers share the shards",
        )
    if config.task_runner and replayed(config) is not None:
        raise InputError(
            "workers sample completions, and stored ones are scored in this process",
            f"{option} with --completions",
            "leave --task-runner out",
        )
    check_task_runner(runtime.data_dir, config.task_runner)


def refuse_workers(task_runner: str) -> None:
    """Raise the InputError of a task runner for learning."""
    raise InputError(
        "a policy that learns is sampled where it learns, and not by workers",
        f"--task-runner {task_runner}",
        "leave it out; versions can be measured by workers, with threeloops eval",
    )


def with_template(config: C) -> C:
    """The configuration with what a file says in place of its name.

    What goes on with it, or reads it again later, needs the file no more.
    """
    if isinstance(config.template, str) and names_file(config.template):
        return config.model_copy(update={"template": read_template(config.template)})
    return config


def with_answer_tokens(config: C) -> C:
    """The configuration with the tokens that answers to its template need, unless it says them."""
    if "max_new_tokens" in config.sampling.model_fields_set:
        return config
    tokens = template_of(config.template).answer_tokens
    sampling = config.sampling.model_copy(update={"max_new_tokens": tokens})
    return config.model_copy(update={"sampling": sampling})


def _of_what_was_answered(runtime: Runtime, config: C, source: str) -> C:
    from artifacts.runs.imported import answered_split
    from artifacts.runs.replay import check_source

    check_source(runtime.archive.history, source)
    if source_of(source) == "answers":
        assert isinstance(config, EvalConfig)
        split = answered_split(
            runtime.datasets, config.dataset, Path(source), config.columns, Part.of(config)
        )
        if "split" not in config.model_fields_set:
            config = config.model_copy(update={"split": split})
        runtime.datasets.load(config.dataset, config.split, columns=config.columns)
        if split not in (config.split, ALL_ROWS):
            raise InputError(
                f"the answers in {source} are to the split {split}",
                f"--split {config.split}",
                f"give --split {split}, or leave it out",
            )
    return config


def check_model(runtime: Runtime, config: RunConfig) -> None:
    """InputError for a model that cannot answer or does not fit into memory; takes seconds.

    A server is asked for a few tokens. Where stored completions are scored, nobody is asked. Of
    several processes each finds the model on its host.
    """
    if replayed(config) is not None:
        return
    if isinstance(config, EvalConfig) and config.server is not None:
        _check_server(runtime, config)
        return
    if runtime.group is not None:
        from tasks.runtime.sharing import find_everywhere

        log_message = runtime.progress.log_message
        find_everywhere(runtime.group, resolve_policy(runtime.archive, config.model, log_message))
    if folder := known_folder(runtime.archive, config.model):
        check_weights(folder)
        load_config(folder)
        check_can_answer(folder, config.template)
        if isinstance(config, LearningConfig) and config.server is not None:
            start = PolicyRef(name=config.model, digest=runtime.archive.folders.digest(folder))
            settings = with_tokenizer(config.generation(), folder)
            runtime.servers.for_steps(start, settings, config.sampler.served_model)
        if config.task_runner in (None, "threads"):  # other workers have a memory of their own
            needs = _needs(config, folder, runtime.ranks)
            refuse_too_large(needs, _free_bytes(runtime, config), config.model)
    elif config.model != DEFAULT:
        check_on_hub(config.model)


def _check_server(runtime: Runtime, config: EvalConfig) -> None:
    policy = runtime.servers.policy(config.model, config.generation())
    assert policy.engine is not None
    picked_by = config.pick if isinstance(config, SelectionConfig) else None
    if policy.engine.gives == "text" and "likelihood" in (picked_by or ()):
        raise InputError(
            "the server gives text without log-probabilities",
            "--pick likelihood",
            "pick by another rule, or ask a server that gives token ids and log-probabilities",
        )


def replayed(config: RunConfig) -> str | None:
    """The stored completions that a configuration scores, None where it generates."""
    return config.completions if isinstance(config, EvalConfig) else None


def _free_bytes(runtime: Runtime, config: RunConfig) -> int:
    """Memory that is free for this process, of those that share it."""
    free = free_bytes(config.device)
    if runtime.group is None:
        return free
    return free // runtime.group.processes_on(resolve_device(config.device))


def _check_ranks(ranks: int, config: LearningConfig) -> None:
    if config.shard_weights:
        _check_sharding(ranks, config)
    if ranks > config.problems_per_step:
        raise InputError(
            f"{ranks} processes share the problems of a step, and each needs one at least",
            f"--problems-per-step {config.problems_per_step}",
            f"give {ranks} or more, or start fewer processes",
        )


def _check_sharding(ranks: int, config: LearningConfig) -> None:
    reasons = {
        "there is one process, and nobody to share weights with": ranks == 1,
        "an adapter is small, and all processes need the weights beside it": (
            config.learning.adapter != "none"
        ),
        "it cannot be combined with --logprob-after": config.logprob_after,
    }
    for reason, holds in reasons.items():
        if holds:
            raise InputError(reason, "--shard-weights", "leave it out")


def _needs(config: RunConfig, folder: Path, ranks: int) -> Needs:
    if isinstance(config, LearningConfig):
        return learning_needs(
            folder,
            samples=config.samples,
            max_new_tokens=config.sampling.max_new_tokens,
            adapter=config.learning.adapter != "none",
            recompute=config.learning.gradient_checkpointing,
            sharers=ranks if config.shard_weights else 1,
        )
    return measuring_needs(folder)


def _check_learning(datasets: Datasets, config: LearningConfig) -> None:
    if config.register_as.startswith(PREFIX):
        raise InputError(
            f"MLflow keeps prompts beside models, and {PREFIX} begins their names",
            f"--register-as {config.register_as}",
            "take another name",
        )
    columns = config.columns
    train = datasets.load(config.dataset, config.train_split, columns=columns)
    measured = datasets.load(config.dataset, config.split, config.limit, columns)
    refuse_shared_prompts(train, measured, f"dataset {config.dataset}")
    if config.dev_every and datasets.has_split(config.dataset, DEV, columns):
        dev = datasets.load(config.dataset, DEV, config.dev_limit, columns)
        refuse_shared_prompts(train, dev, f"dataset {config.dataset}, split {DEV}")
        template = get_template(config.template)
        refuse_shown_problems(template, dev, f"{config.dataset} {DEV}")
    if measured.num_rows < 2:
        raise InputError(
            "one measured problem is too few for an interval",
            f"--split {config.split}",
            "measure two or more",
        )
    batch_rows(train.num_rows, count=config.problems_per_step, step=1, seed=0)
    if config.sampling.top_k or config.sampling.top_p < 1 or config.sampling.temperature == 0:
        raise InputError(
            "the gradient is that of the whole policy, but these samples are cut from it",
            "--top-k, --top-p or --temperature 0",
            "learn from samples at a temperature above 0, without top-k and top-p",
        )
    if config.samples == 1 and config.learning.baseline in GROUP_BASELINES:
        raise InputError(
            f"the baseline {config.learning.baseline} compares completions of one problem, "
            "and there is only one",
            "--samples 1",
            "sample 2 or more, or use --baseline running_mean",
        )
