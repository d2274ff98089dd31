"""Which problem of a dataset each foreign answer belongs to: by id, else by the prompt's text.

An id is not believed against the prompt that the log shows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from artifacts.foreign.answers import Answer, shown
from schemas.errors import InputError
from schemas.problems import CANONICAL_INTEGER


class Matcher:
    """The problems of a dataset, to find an answer's among them; nothing is guessed."""

    def __init__(self, problems: pa.Table, dataset: str) -> None:
        self.dataset = dataset
        named = ("problem_id", "prompt", "expected_answer")
        ids, prompts, expected = (problems[name].to_pylist() for name in named)
        self._prompt: dict[str, str] = dict(zip(ids, prompts, strict=True))
        self._expected: dict[str, str] = dict(zip(ids, expected, strict=True))
        self._of_prompt: dict[str, list[str]] = {}
        for identity, prompt in self._prompt.items():
            self._of_prompt.setdefault(prompt, []).append(identity)
        self._found: dict[str, list[str]] = {}

    def problems_of(self, answers: Sequence[Answer]) -> list[str]:
        """The id of the problem that each answer of a log belongs to.

        By an id that it names; else the problem whose prompt it shows; else the one whose prompt
        ends last in what the model was shown, where worked examples may stand before it.
        InputError where there is none, where there are two, where an id and a prompt name two
        different problems, or where the program expected another integer than the dataset does.

        Numbers that the program may have counted itself are ids of the dataset only if no row
        of the log shows another problem's prompt; else every row goes by its prompt.
        """
        counted_apart = any(one.counted and self._shows_another(one) for one in answers)
        return [self._problem_of(one, by_id=not (one.counted and counted_apart)) for one in answers]

    def problem_of(self, answer: Answer) -> str:
        """The same of a log with one answer."""
        (identity,) = self.problems_of([answer])
        return identity

    def _problem_of(self, answer: Answer, *, by_id: bool) -> str:
        identity = self._named(answer) if by_id else None
        if identity is None:
            identity = self._by_prompt(answer)
        elif other := self._shows_another(answer):
            raise InputError(
                f"names problem {identity!r} and shows the prompt of {other!r}",
                answer.where,
                "give the --dataset that was asked, with the ids that it had",
            )
        expected, target = self._expected[identity], (answer.target or "").strip()
        if re.fullmatch(CANONICAL_INTEGER, target, re.ASCII) and target != expected:
            raise InputError(
                f"expects {target} for problem {identity!r}, and the dataset {expected}",
                answer.where,
                "give the --dataset that was asked",
            )
        if answer.counted and by_id and target != expected and not self._shows(answer, identity):
            raise InputError(
                f"has the number {answer.ids[0]}, and shows neither the prompt nor the integer of "
                f"problem {identity!r}",
                answer.where,
                "give the --dataset that was asked, or a log whose ids are no plain numbers",
            )
        return identity

    def _named(self, answer: Answer) -> str | None:
        return next((one for one in answer.ids if one in self._expected), None)

    def _shows_another(self, answer: Answer) -> str | None:
        """The problem whose prompt an answer shows in place of that of the one it names."""
        identity = self._named(answer)
        if identity is None or self._shows(answer, identity):
            return None
        found = self._shown_by(answer)
        return found[0] if found else None

    def _shows(self, answer: Answer, identity: str) -> bool:
        """Whether an answer shows the prompt of a problem, and not just that of a longer one."""
        asked = self._prompt[identity]
        if asked in answer.prompts:
            return True
        if any(one in self._of_prompt for one in answer.prompts):
            return False
        return any(
            _last_whole(shown, asked) >= 0 or _last_whole(_spaced(shown), _spaced(asked)) >= 0
            for shown in answer.prompts
        )

    def _by_prompt(self, answer: Answer) -> str:
        found = self._shown_by(answer)
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(
                f"its prompt is that of {len(found)} problems ({found[0]!r} and {found[1]!r})",
                answer.where,
                "give each problem a prompt of its own, or answers that name ids",
            )
        named = [*(f"the id {shown(one)}" for one in answer.ids[:1])]
        named += [f"the prompt {shown(one)}" for one in answer.prompts[:1]]
        raise InputError(
            f"no problem of the dataset {self.dataset} has {' or '.join(named) or 'its prompt'}",
            answer.where,
            "give the --dataset that was asked; --prompt-column and --id-column say how it is read",
        )

    def _shown_by(self, answer: Answer) -> list[str]:
        """The problems with the prompt that an answer shows: one, or all that share it, or none."""
        exact = [self._of_prompt[one] for one in answer.prompts if one in self._of_prompt]
        within = (self._within(one) for one in answer.prompts)
        return exact[0] if exact else next((one for one in within if one), [])

    def _within(self, shown_to_model: str) -> list[str]:
        """The problem whose prompt ends last in a text, as whole words; the longest of several."""
        if shown_to_model not in self._found:
            best, ids = (-1, 0), list[str]()
            for prompt, known in self._of_prompt.items():
                start = _last_whole(shown_to_model, prompt)
                if start >= 0 and (place := (start + len(prompt), len(prompt))) > best:
                    best, ids = place, known
            self._found[shown_to_model] = ids
        return self._found[shown_to_model]


def _last_whole(text: str, part: str) -> int:
    """Where `part` last stands in `text` with no letter or digit directly around it, else -1."""
    start = text.rfind(part)
    while start >= 0:
        before, after = text[start - 1 : start], text[start + len(part) :][:1]
        if not (_joins(before, part[:1]) or _joins(part[-1:], after)):
            return start
        start = text.rfind(part, 0, start + len(part) - 1)
    return -1


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _joins(left: str, right: str) -> bool:
    """Whether two characters side by side are of one word or number: `12`, `-1`, `.5`."""
    return (left.isalnum() and right.isalnum()) or (left in ("-", ".") and right.isdigit())


def split_of_all(ids: Sequence[str], answers: Sequence[Answer], problems: pa.Table) -> str:
    """The one split that holds all these problems; InputError for the first of another."""
    columns = (problems[name].to_pylist() for name in ("problem_id", "split"))
    splits = dict(zip(*columns, strict=True))
    first = splits[ids[0]]
    for identity, answer in zip(ids, answers, strict=True):
        if splits[identity] != first:
            raise InputError(
                f"problem {identity!r} is in the split {splits[identity]}, and those before it "
                f"in {first}",
                answer.where,
                "give answers to one split",
            )
    return str(first)
