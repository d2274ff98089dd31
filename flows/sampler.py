"""A server that samples the steps of learning: what must be true of it before a run begins."""

from __future__ import annotations

from pathlib import Path

from schemas.config import GenerationSettings, LearningConfig
from schemas.errors import InputError
from schemas.server import IMPORTANCE_CAP


def check_sampler(ranks: int, config: LearningConfig) -> None:
    """InputError for the first setting that does not fit how steps are sampled."""
    if config.server is None:
        _check_in_process(config)
        return
    if config.learning.adapter == "none":
        raise InputError(
            "loop C changes weights, and only an adapter can be given to a server that runs",
            "--base-url",
            "add --adapter lora, or leave it out",
        )
    if ranks > 1:
        raise InputError(
            f"each of {ranks} processes would ask the server for all completions",
            "--base-url under torchrun or srun",
            "start the command by itself",
        )
    for name in ("tokenizer", "text_prompts"):
        if getattr(config.server, name):
            option = f"--{name.replace('_', '-')}"
            raise InputError(
                "prompts are token ids of the tokenizer of the policy that learns",
                option,
                f"leave {option} out",
            )
    if config.sampler.importance_cap != IMPORTANCE_CAP and not config.sampler.max_off_policy_steps:
        raise InputError(
            "on policy there are no weights to truncate",
            f"--importance-cap {config.sampler.importance_cap:g}",
            "add --max-off-policy-steps, or leave it out",
        )


def _check_in_process(config: LearningConfig) -> None:
    given = {
        "--served-model": config.sampler.served_model,
        "--adapter-folder": config.sampler.adapter_folder,
        "--max-off-policy-steps": config.sampler.max_off_policy_steps,
        "--importance-cap": config.sampler.importance_cap != IMPORTANCE_CAP,
    }
    for option, value in given.items():
        if value:
            raise InputError(
                "is for a server that samples the steps, and this process samples them",
                option,
                "add --base-url, or leave it out",
            )


def with_tokenizer(settings: GenerationSettings, folder: Path) -> GenerationSettings:
    """The settings with the tokenizer of the policy that learns, where a server is asked."""
    if settings.server is None:
        return settings
    server = settings.server.model_copy(update={"tokenizer": str(folder)})
    return settings.model_copy(update={"server": server})
