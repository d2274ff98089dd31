"""How completions will probably begin, guessed from examples in the prompts.

A few-shot prompt shows what an answer looks like: whatever came before the answers of its examples
also stands at its own end. Where all examples go on alike ("Final: "), so do most completions. A
guess never changes what is sampled: it only says which tokens are read together with the prompt.
Looking drafts up in the prompt is Saxena's idea ("Prompt Lookup Decoding", 2023); there one match
is followed as far as it goes, here all matches as far as they agree.
"""

from __future__ import annotations

from collections.abc import Sequence

from policy.attention.prefix_tree import Tokens

ENDING = 3  # tokens at the end of a prompt that an example must have before its answer
LEAST_EXAMPLES = 2  # one alone would draft its own answer, too
MOST_DRAFTED = 8


def common_draft(prompts: Sequence[Tokens], limit: int) -> list[int]:
    """At most `limit` tokens that all these prompts' examples begin their answers with."""
    draft: list[int] | None = None
    for prompt in prompts:
        own = _draft(list(prompt))
        draft = own if draft is None else _agreed([draft, own])
        if not draft:
            return []
    return (draft or [])[: max(0, min(limit, MOST_DRAFTED))]


def _draft(prompt: list[int]) -> list[int]:
    ending, length = prompt[-ENDING:], len(prompt)
    if length <= ENDING:
        return []
    ends = [end for end in range(ENDING, length) if prompt[end - ENDING : end] == ending]
    if len(ends) < LEAST_EXAMPLES:
        return []
    return _agreed([prompt[end : end + MOST_DRAFTED] for end in ends])


def _agreed(drafts: Sequence[Sequence[int]]) -> list[int]:
    """What all of them begin with."""
    agreed = []
    for column in zip(*drafts, strict=False):
        if len(set(column)) > 1:
            break
        agreed.append(column[0])
    return agreed
