"""Chat templates are rendered in a process of their own, which is ended when it takes too much.

A template comes with a model and is a program: jinja's sandbox keeps it from files and from Python,
but not from a loop that never ends or from a text that fills the memory. It may be quick for one
question and endless for the next, so every rendering happens there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policy.limited.process import LimitedProcess, MemoryLimitError, TimeLimitError, batches

PROGRAM = Path(__file__).with_name("chat_child.py")
CPU_SECONDS, EACH_CPU_SECONDS = 2.0, 0.02  # a chat template takes a fraction of a millisecond
MEMORY_BYTES = 512 * 2**20
MOST_CHARACTERS = 2_000_000  # of a text, beside four times those of the messages
LONGEST_TEMPLATE = 2_000_000  # characters
BATCH, BATCH_CHARACTERS = 256, 1_000_000  # what is rendered at once: chats, and their characters

Chat = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Fault:
    """Why a template cannot be used; `deliberate` where it says so itself."""

    reason: str
    deliberate: bool = False


TOO_LONG = Fault("it takes too long for a chat template")
TOO_MUCH = Fault(f"it needs more than {MEMORY_BYTES // 2**20} MB of memory")


class ChatError(Exception):
    """A template cannot show a chat; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


# what is rendered does not depend on it, so there is one for all
RENDERER = LimitedProcess(PROGRAM, MEMORY_BYTES)


def rendered(template: str, variables: Mapping[str, Any], chats: Sequence[Chat]) -> list[str]:
    """The text of each chat, all with the same `variables`; ChatError when one has none."""
    if len(template) > LONGEST_TEMPLATE:
        raise ChatError(Fault(f"it has more than {LONGEST_TEMPLATE:,} characters"))
    texts: list[str] = []
    for batch in batches(chats, _characters, BATCH_CHARACTERS, most=BATCH):
        texts += render(RENDERER, template, variables, batch)
    return texts


def render(
    renderer: LimitedProcess, template: str, variables: Mapping[str, Any], chats: Sequence[Chat]
) -> list[str]:
    """The same for chats that are few enough to be rendered at once, by this process."""
    asked = {
        "template": template,
        "variables": variables,
        "chats": chats,
        "most_characters": MOST_CHARACTERS + 4 * sum(map(_characters, chats)),
    }
    try:
        answer = renderer.ask(asked, CPU_SECONDS + EACH_CPU_SECONDS * len(chats))
    except TimeLimitError:
        raise ChatError(TOO_LONG) from None
    except MemoryLimitError:
        raise ChatError(TOO_MUCH) from None
    if "error" in answer:
        raise ChatError(Fault(answer["error"], answer.get("kind") == "TemplateError"))
    texts: list[str] = answer["texts"]
    return texts


def _characters(chat: Chat) -> int:
    return sum(len(message["content"]) for message in chat)
