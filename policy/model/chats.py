"""Chats as text: rendered by the chat template that comes with a model, within limits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from policy.limited.chat import Chat, ChatError, Fault, rendered
from schemas.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
PLAIN_INSTEAD = "use --template few_shot_plain@1"


def render_chats(
    chats: Sequence[Chat], template_id: str, tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """Each chat as the model's own template shows it, as transformers would render it."""
    if not tokenizer.chat_template:
        raise InputError(
            f"the template {template_id} is a chat, but this model has no chat template",
            where=str(tokenizer.name_or_path),
            remedy=f"{PLAIN_INSTEAD}, or `form: plain` in a file of yours",
        )
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:  # there are several, and none is the default
        raise _unusable(Fault(str(error)), template_id, tokenizer) from None
    if not isinstance(template, str):
        raise _unusable(Fault("it is not a text"), template_id, tokenizer)
    variables = {
        **tokenizer.special_tokens_map,
        "tools": None,
        "documents": None,
        "add_generation_prompt": True,
    }
    try:
        return rendered(template, variables, chats)
    except ChatError as error:
        raise _unusable(error.fault, template_id, tokenizer) from None


def _unusable(fault: Fault, template_id: str, tokenizer: PreTrainedTokenizerBase) -> InputError:
    folder = Path(str(tokenizer.name_or_path))
    files = (folder / name for name in TEMPLATE_FILES)
    file = next((file for file in files if file.is_file()), folder)
    verb = "refuses" if fault.deliberate else "cannot show"
    reason = " ".join(fault.reason.split())[:200]
    return InputError(
        f"the model's chat template {verb} {template_id} ({reason})",
        str(file),
        PLAIN_INSTEAD,
    )
