"""What prompts and completions have in common, as a common prefix and trees of tokens.

Completions of one prompt often begin alike ("Final: "), and short ones are often equal. Under
causal attention the hidden state of a token depends only on the tokens before it, so an equal
beginning needs to be computed only once. The tokens of a batch therefore fall into three parts:

- the common prefix: what all prompts begin with;
- a prompt suffix, one for each problem: the rest of its prompt, and every token after it that at
  least two of its completions pass through;
- a completion suffix, one for each completion: the tokens that it shares with no other.

Where all completions are short, all their tokens are in the prompt suffixes, and there are no
completion suffixes: one small block for each problem costs less than many with more padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

Tokens = Sequence[int]
# completion tokens in one prompt suffix at most: its attention is quadratic in their number
MOST_SHARED = 256
# distinct completion tokens of a problem with which its prompt suffix takes all of them
MOST_WHOLE = 96


def common_prefix_length(prompts: Sequence[Tokens]) -> int:
    """Length of the longest common prefix that leaves every prompt at least its last token."""
    shared = takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False))
    return min(sum(1 for _ in shared), min(map(len, prompts)) - 1)


@dataclass
class PromptSuffix:
    """One problem's prompt suffix, and how its N completions leave it.

    Token i has `tokens[i]`, comes after `parents[i]` (−1 for the first) and lies `depths[i]`
    places after the first token. The first `prompt_tokens` of them are the prompt's. Completion n
    passes through the tokens `paths[n]` after the prompt, and goes on with
    `completion_suffixes[n]`.
    """

    tokens: list[int]
    parents: list[int]
    depths: list[int]
    prompt_tokens: int
    paths: list[list[int]] = field(default_factory=list)
    completion_suffixes: list[list[int]] = field(default_factory=list)


def few_distinct(inputs: Sequence[Tokens]) -> bool:
    """Whether these completions have few distinct beginnings: at most `MOST_WHOLE`."""
    if max(map(len, inputs)) > MOST_WHOLE:
        return False
    beginnings = {tuple(one[:end]) for one in inputs for end in range(1, len(one) + 1)}
    return len(beginnings) <= MOST_WHOLE


def build_prompt_suffix(
    prompt_rest: Tokens, inputs: Sequence[Tokens], *, whole: bool = False
) -> PromptSuffix:
    """The prompt suffix of one problem; with `whole` it takes all tokens of the completions.

    `prompt_rest` (not empty) is its prompt without the common prefix, `inputs` are the tokens of
    its completions that predict something.
    """
    length = len(prompt_rest)
    suffix = PromptSuffix(
        tokens=list(prompt_rest),
        parents=list(range(-1, length - 1)),
        depths=list(range(length)),
        prompt_tokens=length,
    )
    # First pass: put all completions into one tree. Its nodes are beginnings of completions; node
    # 0 is the end of the prompt. Count how many completions take each step (node, token).
    visits: dict[tuple[int, int], int] = {}
    children: dict[tuple[int, int], int] = {}
    for completion in inputs:
        node = 0
        for token in completion:
            visits[node, token] = visits.get((node, token), 0) + 1
            node = children.setdefault((node, token), len(children) + 1)

    # Second pass: walk each completion down the tree as long as another one takes the same step,
    # or to its end where the suffix takes all.
    # A node that is met for the first time is added to the suffix. Where a completion is alone, or
    # the suffix is full, the completion leaves it.
    places = {0: length - 1}  # where in the suffix a node lies
    for completion in inputs:
        node, path = 0, []
        for token in completion:
            child = children[node, token]
            if child not in places:
                full = len(suffix.tokens) - length >= MOST_SHARED
                if not whole and (full or visits[node, token] < 2):
                    break
                places[child] = len(suffix.tokens)
                suffix.tokens.append(token)
                suffix.parents.append(places[node])
                suffix.depths.append(suffix.depths[places[node]] + 1)
            path.append(places[child])
            node = child
        suffix.paths.append(path)
        suffix.completion_suffixes.append(list(completion[len(path) :]))
    return suffix
