"""Problems as a server is shown them: as token ids or as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from policy.files.model_files import DEFINING_FILES
from policy.model.load import load_tokenizer
from policy.model.template import PromptTemplate, get_template
from schemas.engine import Gives
from schemas.errors import InputError
from schemas.files import of_user
from schemas.identity import digest_of, file_digest
from schemas.own_template import OwnTemplate
from schemas.server import ServerSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MODEL_FILES = ("config.json", "generation_config.json")  # which a tokenizer does not need


@dataclass(frozen=True)
class Prompt:
    """What one problem is asked with.

    `token_ids` is None where no tokenizer is known here. A `started` text has its own start token,
    as a chat has, so that the server must not put another before it.
    """

    sent: str | list[int]
    token_ids: list[int] | None = None
    started: bool = False


class Prompts:
    """Renders problems for one server; the tokenizer is loaded once."""

    def __init__(self, settings: ServerSettings) -> None:
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.digest = ""
        if settings.tokenizer is not None:
            folder = _folder(settings.tokenizer)
            self.tokenizer = load_tokenizer(folder)
            self.digest = digest_of(_tokenizer_files(folder))
        elif settings.text_prompts:
            raise InputError(
                "without a tokenizer every prompt is text", "--text-prompts", "leave it out"
            )
        with_ids = self.tokenizer is not None and not settings.text_prompts
        self.form: Gives = "tokens" if with_ids else "text"

    def render(self, template: str | OwnTemplate, questions: Sequence[str]) -> list[Prompt]:
        """One prompt a question; InputError where text cannot say what the token ids say."""
        chosen = get_template(template)
        if self.tokenizer is None:
            return [Prompt(_plain(chosen, question)) for question in questions]
        encoded = chosen.encode(questions, self.tokenizer)
        if self.form == "tokens":
            return [Prompt(ids, ids) for ids in encoded]
        return [
            self._as_text(chosen, question, ids)
            for question, ids in zip(questions, encoded, strict=True)
        ]

    def _as_text(self, template: PromptTemplate, question: str, ids: list[int]) -> Prompt:
        assert self.tokenizer is not None
        text = template.render(question, self.tokenizer)
        # a chat has its own start token; before plain text the server puts it by itself
        read: Mapping[str, list[int]] = self.tokenizer(
            text, add_special_tokens=not template.chat, verbose=False
        )
        if list(read["input_ids"]) != ids:
            raise InputError(
                "this problem spells a control token, and a server that is sent text would obey it",
                repr(question[:60]),
                "send token ids (leave out --text-prompts), or leave the problem out",
            )
        return Prompt(text, ids, started=template.chat)


def _plain(template: PromptTemplate, question: str) -> str:
    if template.chat:
        raise InputError(
            f"{template.id} is a chat, and only the model's tokenizer says how one is written",
            f"--template {template.id}",
            "add --tokenizer FOLDER, or take --template few_shot_plain@1",
        )
    return template.plain_text(question, "\n")


def _folder(path: str) -> Path:
    folder = of_user(path)
    if not folder.is_dir():
        raise InputError(
            "no such folder", f"--tokenizer {path}", "give the folder with the model's tokenizer"
        )
    return folder.absolute()


def _tokenizer_files(folder: Path) -> dict[str, str]:
    """The digests of the files that decide how a text becomes tokens."""
    names = [name for name in DEFINING_FILES if name not in MODEL_FILES]
    return {name: file_digest(folder / name) for name in names if (folder / name).is_file()}
