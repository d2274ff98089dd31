"""The template of a run, kept as a file of the run and in MLflow's prompt registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from artifacts.prompts.template_file import KEPT, as_yaml
from artifacts.store.data_dir import DataDir
from artifacts.unsent.prompts import PREFIX, register_prompt
from policy.model.template import PromptTemplate, get_template
from schemas.config import EvalConfig, RunConfig

if TYPE_CHECKING:
    from artifacts.tracking.run import TrackedRun

QUESTION, END = "{{question}}", "{{end}}"  # variables, as MLflow writes them
LOCK_SECONDS = 10.0  # a registration takes a fraction of a second


def keep_template(run: TrackedRun, config: RunConfig) -> None:
    """Keep the template of a run that samples with it; stored completions were made with another.

    A registry that does not take it, or does not answer, makes no run fail.
    """
    if isinstance(config, EvalConfig) and config.completions is not None:
        return
    template = get_template(config.template)
    run.text(KEPT, as_yaml(template))
    tracking = run.archive.tracking
    words = {
        "name": prompt_name(template),
        "template": template.id,
        "digest": template.digest,
        "text": as_mlflow(template),
        "experiment": tracking.experiment_id,
        "run": run.run_id,
    }
    keep = getattr(tracking.client, "register_template", None)
    with _one_at_a_time(run.archive.data_dir):
        if keep is not None:
            keep(words)
        else:
            register_prompt(tracking.client, words, again=False)


@contextmanager
def _one_at_a_time(data_dir: DataDir) -> Iterator[None]:
    """Two commands must not both find a template missing; who waits too long goes on."""
    data_dir.locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(data_dir.locks / "prompts.lock", timeout=LOCK_SECONDS)
    with suppress(Timeout):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def prompt_name(template: PromptTemplate) -> str:
    """The name of a template in MLflow's registry, which it shares with models."""
    return PREFIX + template.name


def as_mlflow(template: PromptTemplate) -> str | list[dict[str, str]]:
    """A template as MLflow writes prompts: messages, or a text; the question is a variable.

    In a text a second variable stands for the token that ends an answer.
    """
    if template.chat:
        return template.messages(QUESTION)
    return template.plain_text(QUESTION, END)
