"""A prompt template in MLflow's prompt registry: one version a digest, named in its runs.

MLflow keeps prompts beside models, in one space of names, so those of ours begin with a prefix.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from artifacts.unsent.answers import no_answer

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

PREFIX = "prompt."  # begins the name of a prompt
TEMPLATE, DIGEST = "threeloops.template", "threeloops.template_digest"
IS_PROMPT = "mlflow.prompt.is_prompt"
SOURCE = "dummy-source"  # what MLflow's own client says where a prompt has no files
LINKED = "mlflow.linkedPrompts"
Words = Mapping[str, Any]
logger = logging.getLogger(__name__)


def register_prompt(client: MlflowClient, words: Words, again: bool) -> str | None:
    """Register a template unless its digest is there, and name it in a run; returns its number.

    `words` are `name`, `template` (name and version), `digest`, `text` (a text, or messages),
    `experiment` and `run`. A registry that does not take it, such as one of an older server, is
    told of in a warning, and None is returned: no run fails for it.
    """
    from mlflow.exceptions import MlflowException

    try:
        version = _there(client, words) or _the_first(client, words, _added(client, words))
        linked = [{"name": version.name, "version": str(version.version)}]
        client.set_tag(words["run"], LINKED, json.dumps(linked))
    except MlflowException as error:
        if no_answer(error):
            raise
        reason = (str(error).splitlines() or ["no reason given"])[0]
        logger.warning(
            "MLflow's prompt registry does not take %s (%s); the run has it as a file",
            words["template"],
            reason,
        )
        return None
    return str(version.version)


def _there(client: MlflowClient, words: Words) -> ModelVersion | None:
    """The first version that has the digest."""
    where = f"name='{words['name']}' and tags.`{IS_PROMPT}` = 'true'"
    found = client.search_model_versions(where)
    equal = [one for one in found if one.tags.get(DIGEST) == words["digest"]]
    return min(equal, key=lambda one: int(one.version), default=None)


def _the_first(client: MlflowClient, words: Words, made: ModelVersion) -> ModelVersion:
    """The version that counts, where another machine found the digest missing at the same moment.

    Each takes back its own unless it is the first.
    """
    first = _there(client, words) or made
    if int(first.version) < int(made.version):
        registry: Any = client._get_registry_client()  # type: ignore[no-untyped-call]
        registry.delete_model_version(made.name, made.version)
    return first


def _added(client: MlflowClient, words: Words) -> ModelVersion:
    """As `MlflowClient.register_prompt` does it, but at once and in our experiment.

    That one names the prompt in the experiment that is active, from a thread of its own.
    """
    from mlflow.exceptions import MlflowException

    registry: Any = client._get_registry_client()  # type: ignore[no-untyped-call]
    text = words["text"]
    tags = {IS_PROMPT: "true", "_mlflow_experiment_ids": f",{words['experiment']},"}
    try:
        registry.create_registered_model(words["name"], tags=tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        if IS_PROMPT not in registry.get_registered_model(words["name"])._tags:
            raise MlflowException(f"a model has the name {words['name']}") from None
    chat = not isinstance(text, str)
    made: ModelVersion = registry.create_model_version(
        name=words["name"],
        source=SOURCE,
        await_creation_for=0,  # it is there at once: nothing is copied
        description=f"{words['template']}, digest {words['digest'][:12]}",
        tags={
            IS_PROMPT: "true",
            "_mlflow_prompt_type": "chat" if chat else "text",
            "mlflow.prompt.text": json.dumps(text) if chat else text,
            TEMPLATE: words["template"],
            DIGEST: words["digest"],
        },
    )
    return made
