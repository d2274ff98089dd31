"""Which problem of a dataset each foreign answer belongs to: by id, else by the prompt's text."""

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
        columns = (problems[name].to_pylist() for name in ("problem_id", "prompt"))
        self._of_prompt: dict[str, list[str]] = {}
        for identity, prompt in zip(*columns, strict=True):
            self._of_prompt.setdefault(prompt, []).append(identity)
        self._expected = dict(
            zip(
                problems["problem_id"].to_pylist(),
                problems["expected_answer"].to_pylist(),
                strict=True,
            )
        )
        self._found: dict[str, list[str]] = {}

    def problem_of(self, answer: Answer) -> str:
        """The id of the problem that an answer belongs to.

        By an id that it names; else the problem whose prompt it shows; else the one whose prompt
        ends last in what the model was shown, where worked examples may stand before it.
        InputError where there is none, where there are two, or where the program expected another
        integer than the dataset does.
        """
        identity = next((one for one in answer.ids if one in self._expected), None)
        if identity is None:
            identity = self._by_prompt(answer)
        expected, target = self._expected[identity], (answer.target or "").strip()
        if re.fullmatch(CANONICAL_INTEGER, target, re.ASCII) and target != expected:
            raise InputError(
                f"expects {target} for problem {identity!r}, and the dataset {expected}",
                answer.where,
                "give the --dataset that was asked",
            )
        return identity

    def _by_prompt(self, answer: Answer) -> str:
        exact = [self._of_prompt[one] for one in answer.prompts if one in self._of_prompt]
        within = (self._within(one) for one in answer.prompts)
        found = exact[0] if exact else next((one for one in within if one), [])
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
