"""What the completions of one problem share, as a tree of tokens.

It knows no row layout and no attention (see `policy.attention.packing`).

Completions of one prompt often begin alike ("Final: "), and short ones are often equal. Under
causal attention a token's hidden state depends on the tokens before it alone, so an equal beginning
needs to be computed once. Tokens that at least two completions pass through form, with the end of
the prompt, the problem's stem; what is a completion's own is its tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Tokens = Sequence[int]
MOST_SHARED = 256  # tokens of a stem beyond its prompt: the stem's attention is square in them


@dataclass
class Stem:
    """The prompt's rest and the shared tokens after it, and how N completions leave it.

    Token i of the stem has `tokens[i]`, comes after `parents[i]` (−1 for the first) and lies
    `depths[i]` places after the stem's first token. Completion n passes through the stem's tokens
    `paths[n]`, beyond the prompt, and goes on with `tails[n]`.
    """

    tokens: list[int]
    parents: list[int]
    depths: list[int]
    prompt: int  # how many of the tokens are the prompt's
    paths: list[list[int]] = field(default_factory=list)
    tails: list[list[int]] = field(default_factory=list)


def grow_stem(prompt_rest: Tokens, inputs: Sequence[Tokens]) -> Stem:
    """The stem of one problem, from its prompt's rest (not empty) and its completions' inputs."""
    length = len(prompt_rest)
    stem = Stem(
        tokens=list(prompt_rest),
        parents=list(range(-1, length - 1)),
        depths=list(range(length)),
        prompt=length,
    )
    visits: dict[tuple[int, int], int] = {}  # (node, token) to how many completions go there
    children: dict[tuple[int, int], int] = {}  # (node, token) to node, in the tree of all tokens
    for completion in inputs:
        node = 0
        for token in completion:
            visits[node, token] = visits.get((node, token), 0) + 1
            node = children.setdefault((node, token), len(children) + 1)

    places = {0: length - 1}  # nodes of the tree that are in the stem, and where
    for completion in inputs:
        node, path = 0, []
        for token in completion:
            child = children[node, token]
            if child not in places:
                full = len(stem.tokens) - length >= MOST_SHARED
                if full or visits[node, token] < 2:
                    break
                places[child] = len(stem.tokens)
                stem.tokens.append(token)
                stem.parents.append(places[node])
                stem.depths.append(stem.depths[places[node]] + 1)
            path.append(places[child])
            node = child
        stem.paths.append(path)
        stem.tails.append(list(completion[len(path) :]))
    return stem
