"""Prompt templates: how a problem is shown to a model, named, versioned and hashed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from policy.limited.tokenizer_trial import explaining_tokenizer, try_texts
from policy.model.chats import PLAIN_INSTEAD, render_chats
from schemas.errors import InputError
from schemas.identity import digest_of
from schemas.own_template import PLACE, PLACEHOLDER, OwnTemplate, WorkedExample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNSAID = ("answer_tokens", "reasons")


@dataclass(frozen=True)
class PromptTemplate:
    """A system message, worked examples, and the question, as a chat or as plain text.

    `system` None keeps the chat template's own default. In `instruction` the question takes the
    place of `{question}`; without one it follows every question, on a separate line. In plain text
    the tokenizer's end token closes each worked example, so that a model without a chat template
    can see how an answer ends.

    `answer_tokens` is how many an answer may need, where the user does not say it, and `reasons`
    whether more is asked for than the one line that `final_int@1` pays for. Neither is shown to the
    model, so the digest leaves them out.
    """

    name: str
    version: int
    system: str | None
    instruction: str
    examples: tuple[tuple[str, str], ...]  # question, answer
    chat: bool
    answer_tokens: int = 16
    reasons: bool = False

    @property
    def id(self) -> str:
        """Name and version, as a user writes them: `few_shot_chat@1`."""
        return f"{self.name}@{self.version}"

    @property
    def digest(self) -> str:
        """SHA-256 of everything that this template says."""
        return digest_of({name: said for name, said in asdict(self).items() if name not in UNSAID})

    @property
    def built_in(self) -> bool:
        """Whether its name stands for it; a template of a file may have any name but those."""
        return self.id in TEMPLATES

    @property
    def identity(self) -> str:
        """What tells it apart: name, version and digest, as instruments have it."""
        return f"{self.id}:{self.digest}"

    @property
    def said(self) -> str:
        """Its name for people: two files may have the same, so theirs comes with a digest."""
        return self.id if self.built_in else f"{self.id} ({self.digest[:12]})"

    def written(self) -> OwnTemplate:
        """As a file would say it; a file must not take the name of a built-in one."""
        instruction = self.instruction
        if PLACEHOLDER not in instruction:
            instruction = self._ask(PLACEHOLDER)
        return OwnTemplate(
            name=self.name,
            version=self.version,
            form="chat" if self.chat else "plain",
            system=self.system,
            instruction=instruction,
            examples=tuple(WorkedExample(question=q, answer=a) for q, a in self.examples),
            answer_tokens=self.answer_tokens,
            reasons=self.reasons,
        )

    def render(self, problem_prompt: str, tokenizer: PreTrainedTokenizerBase) -> str:
        """The text that the model completes.

        Raises InputError when this is a chat template and the tokenizer has none.
        """
        return self._render_all([problem_prompt], tokenizer)[0]

    def encode(self, prompts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
        """Token ids of each rendered prompt; nothing is cut or padded.

        The text of a problem cannot produce a control token: where it spells one, as in
        `<|im_end|>`, it is encoded separately, as plain characters.
        """
        asked = list(prompts)
        frame, *texts = self._render_all([PLACE, *asked], tokenizer)
        before, _, after = frame.partition(PLACE)
        questions = [text[len(before) : len(text) - len(after)] for text in texts]
        try_texts(tokenizer, [before, after, *texts, *questions])
        # a chat template writes its own start token; plain text gets the tokenizer's
        start = [] if self.chat else _start_token(tokenizer)
        framing = _controls(before, tokenizer) + _controls(after, tokenizer)
        encoded = []
        for prompt, text, question in zip(asked, texts, questions, strict=True):
            ids = _encode(text, tokenizer)
            if not (text.startswith(before) and text.endswith(after)):
                raise InputError(
                    "the chat template shows something other than the question of this problem",
                    repr(prompt[:60]),
                    PLAIN_INSTEAD,
                )
            literal = _encode(question, tokenizer, literal=True)
            if _count_controls(ids, tokenizer) != framing + _count_controls(literal, tokenizer):
                ids = [*_encode(before, tokenizer), *literal, *_encode(after, tokenizer)]
            encoded.append([*start, *ids])
        return encoded

    def _render_all(
        self, problem_prompts: Sequence[str], tokenizer: PreTrainedTokenizerBase
    ) -> list[str]:
        if self.chat:
            chats = [self.messages(prompt) for prompt in problem_prompts]
            return render_chats(chats, self.id, tokenizer)
        end = str(tokenizer.eos_token or "\n")
        return [self.plain_text(prompt, end) for prompt in problem_prompts]

    def plain_text(self, problem_prompt: str, end: str) -> str:
        """The text that asks a question without a chat; `end` closes each worked example."""
        head = [f"{self.system}\n\n"] if self.system else []
        shown = [f"{self._ask(question)}\n{answer}{end}" for question, answer in self.examples]
        # the prompt ends with a line break, so that an answer does not start with a space
        return "".join([*head, *shown, f"{self._ask(problem_prompt)}\n"])

    def _ask(self, question: str) -> str:
        before, placed, after = self.instruction.partition(PLACEHOLDER)
        if placed:
            return f"{before}{question}{after}"
        return f"{question}\n{self.instruction}" if self.instruction else question

    def messages(self, problem_prompt: str) -> list[dict[str, str]]:
        """The turns of the chat that ask a question; each has `role` and `content`."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for question, answer in self.examples:
            messages.append({"role": "user", "content": self._ask(question)})
            messages.append({"role": "assistant", "content": answer})
        return [*messages, {"role": "user", "content": self._ask(problem_prompt)}]


def get_template(template: str | OwnTemplate) -> PromptTemplate:
    """The built-in template with this name and version, or the one that a file has said.

    InputError lists the built-in ones where there is none of the name, and for a file that takes
    the name of one of them.
    """
    if isinstance(template, OwnTemplate):
        return _of_file(template)
    if template not in TEMPLATES:
        raise InputError(
            f"no prompt template {template}",
            remedy=f"there are {', '.join(sorted(TEMPLATES))}, or name a file, .yaml or .toml",
        )
    return TEMPLATES[template]


def _of_file(said: OwnTemplate) -> PromptTemplate:
    if said.name in {template.name for template in TEMPLATES.values()}:
        raise InputError(
            f"a built-in template has the name {said.name}", "template: name", "take another"
        )
    return PromptTemplate(
        said.name,
        said.version,
        said.system,
        said.instruction,
        tuple((example.question, example.answer) for example in said.examples),
        chat=said.form == "chat",
        answer_tokens=said.answer_tokens,
        reasons=said.reasons,
    )


def _encode(
    text: str, tokenizer: PreTrainedTokenizerBase, *, literal: bool = False
) -> Sequence[int]:
    """Token ids of `text`; `literal` treats the spelling of a control token as plain text."""
    with explaining_tokenizer(str(tokenizer.name_or_path)):
        tokens: Any = tokenizer(
            text, add_special_tokens=False, split_special_tokens=literal, verbose=False
        )
    ids: Sequence[int] = tokens.input_ids
    return ids


def _start_token(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What this tokenizer puts before a text by itself: its start token or nothing."""
    with explaining_tokenizer(str(tokenizer.name_or_path)):
        wrapping: Any = tokenizer("")
    first = list(wrapping.input_ids)[:1]
    return first if first == [tokenizer.bos_token_id] else []


def _controls(text: str, tokenizer: PreTrainedTokenizerBase) -> int:
    return _count_controls(_encode(text, tokenizer), tokenizer)


def _count_controls(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> int:
    controls = set(tokenizer.get_added_vocab().values())
    return sum(token in controls for token in ids)


# outside the ranges of the built-in dataset, so that none of its questions is answered here
EXAMPLES = (
    ("What is 8 + 35?", "Final: 43"),
    ("What is 27 - 19?", "Final: 8"),
    ("What is 3 * 33?", "Final: 99"),
    ("What is 30 - 4?", "Final: 26"),
)
REASONED = (
    ("What is 8 + 35?", "8 + 30 = 38, and 38 + 5 = 43.\nFinal: 43"),
    ("What is 27 - 19?", "27 - 20 = 7, and 7 + 1 = 8.\nFinal: 8"),
    ("What is 3 * 33?", "3 * 30 = 90 and 3 * 3 = 9, together 99.\nFinal: 99"),
    (
        "Tom has 4 bags with 6 apples each and eats 5 apples. How many apples are left?",
        "4 * 6 = 24 apples.\n24 - 5 = 19 apples are left.\nFinal: 19",
    ),
)
TEMPLATES = {
    template.id: template
    for template in (
        PromptTemplate("few_shot_chat", 1, None, "", EXAMPLES, chat=True),
        PromptTemplate("few_shot_plain", 1, None, "", EXAMPLES, chat=False),
        PromptTemplate(
            "zero_shot_chat", 1, None, "Output exactly one line: Final: <int>", (), chat=True
        ),
        PromptTemplate(
            "reason_then_final",
            1,
            None,
            "Reason first. The last line is exactly: Final: <int>",
            REASONED,
            chat=True,
            answer_tokens=256,
            reasons=True,
        ),
    )
}
