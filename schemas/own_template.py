"""A prompt template of one's own: what a file of one may say, checked field by field.

A text that would show the answer, or that would not be shown as it is written, is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic.config import JsonDict

from schemas.frozen import Frozen

PLACEHOLDER = "{question}"
# stands for the question while the text around it is found; a private-use character
PLACE = "\ue000"
MOST_CHARACTERS = 64 * 2**10  # of all texts together: more than most models can read
MOST_VERSION = 10**9
# a name in braces, as str.format, Jinja and f-strings write it; `\boxed{answer}` is LaTeX
NAMED = re.compile(
    r"(?P<latex>\\[A-Za-z]+)?(?<!\{)\{++\s*(?P<name>[A-Za-z_]\w*)\s*(?:[.\[|!:][^{}]*)?\}+"
    r"|%\((?P<old>[A-Za-z_]\w*)\)[a-z]"
)
OF_THE_ANSWER = re.compile(
    "answer|expected|solution|target|label|gold|truth|correct|reference|result", re.IGNORECASE
)
EXAMPLE: JsonDict = {"examples": [{"question": "What is 8 + 35?", "answer": "Final: 43"}]}


class WorkedExample(Frozen):
    """A question with the answer that a model is to give, in the words that the model is shown."""

    question: Annotated[str, Field(min_length=1, description="as a problem would ask it")]
    answer: Annotated[str, Field(min_length=1, description="the whole answer, as it is to be")]

    @field_validator("question", "answer")
    @classmethod
    def _is_shown_as_it_is(cls, value: str) -> str:
        _refuse_unseen(value)
        for name, shown in placeholders(value):
            if shown == PLACEHOLDER:
                raise ValueError(f"holds {PLACEHOLDER}, which belongs into the instruction alone")
            if OF_THE_ANSWER.search(name):
                raise ValueError(_shows_the_answer(shown))
        return value


class OwnTemplate(Frozen):
    """How a problem is shown to a model: a system message, worked examples, the instruction.

    Nothing but `{question}` is filled in. What `answer_tokens` and `reasons` say is not shown to
    the model, so the digest of a template leaves them out.
    """

    name: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9_.-]+$",
            max_length=64,
            description="lower case letters, digits and _ . -; not that of a built-in template",
        ),
    ]
    version: Annotated[
        int, Field(strict=True, ge=1, le=MOST_VERSION, description="raised when the text changes")
    ]
    form: Annotated[
        Literal["chat", "plain"],
        Field(description="chat uses the model's chat template; plain is text alone"),
    ]
    instruction: Annotated[
        str,
        Field(description=f"what is asked each time; {PLACEHOLDER} stands in it once"),
    ]
    system: Annotated[
        str | None,
        Field(min_length=1, description="the system message; without one, the model's own"),
    ] = None
    examples: Annotated[
        tuple[WorkedExample, ...],
        Field(description="worked examples, shown first", json_schema_extra=EXAMPLE),
    ] = ()
    answer_tokens: Annotated[
        int,
        Field(strict=True, ge=1, le=4096, description="tokens of an answer, unless a run says it"),
    ] = 16
    reasons: Annotated[
        bool, Field(strict=True, description="whether it asks for more than one line")
    ] = False

    @field_validator("instruction")
    @classmethod
    def _asks_the_question_once(cls, value: str) -> str:
        _refuse_unseen(value)
        _refuse_other_names(value)
        if (found := value.count(PLACEHOLDER)) != 1:
            times = f"has {PLACEHOLDER} {found} times" if found else f"has no {PLACEHOLDER}"
            raise ValueError(f"{times}, which stands for the question and must be there once")
        return value

    @field_validator("system")
    @classmethod
    def _is_the_same_for_all(cls, value: str | None) -> str | None:
        if value is not None:
            _refuse_unseen(value)
            if PLACEHOLDER in value:
                raise ValueError(f"holds {PLACEHOLDER}, which belongs into the instruction alone")
            _refuse_other_names(value)
        return value

    @model_validator(mode="after")
    def _is_not_endless(self) -> OwnTemplate:
        if sum(map(len, self.texts())) > MOST_CHARACTERS:
            raise ValueError(f"holds more than {MOST_CHARACTERS:,} characters of text")
        return self

    def texts(self) -> Iterator[str]:
        """Every text that a model is shown."""
        yield self.instruction
        if self.system is not None:
            yield self.system
        for example in self.examples:
            yield example.question
            yield example.answer


def placeholders(text: str) -> Iterator[tuple[str, str]]:
    """Each name in a text that looks as if something were put in its place, and how it stands."""
    for found in NAMED.finditer(text):
        if not found["latex"]:
            yield found["name"] or found["old"], found[0]


def _refuse_other_names(text: str) -> None:
    for name, shown in placeholders(text):
        if OF_THE_ANSWER.search(name):
            raise ValueError(_shows_the_answer(shown))
        if shown != PLACEHOLDER:
            raise ValueError(f"holds {shown}: nothing but {PLACEHOLDER} is filled in")


def _shows_the_answer(shown: str) -> str:
    return f"holds {shown}, which would show the expected answer; nothing is filled in for it"


def _refuse_unseen(text: str) -> None:
    """ValueError for a character that controls instead of being read."""
    for place, character in enumerate(text):
        control = unicodedata.category(character) == "Cc" and character not in "\n\t"
        if control or character == PLACE:
            raise ValueError(
                f"holds the control character U+{ord(character):04X} as character {place + 1}"
            )


def named_or_written(value: Any) -> str:
    """Which of the two a template is in a configuration: a name, or the template as written."""
    return "written" if isinstance(value, dict | OwnTemplate) else "name"
