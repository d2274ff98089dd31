"""Nearly right prompt templates, as YAML and as TOML, with one or two things wrong."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.fuzz.inputs.text import ANY_TEXT, ODD_JSON, encoded, one_in, record, written

PARTS = (
    "{question}", "{question}", "{answer}", "{{answer}}", "{ expected }", "{x}", "{", "}", "{{",
    "%(gold)s", "\\boxed{answer}", "What is 1 + 1?", "Final: <int>", "<|im_end|>", "\n", "\t", " ",
    "é", "#", "\x07", "\x85", "\u2028", "\u202e", "\ue000", "\ufeff", ": ", "- ", '"', "'", "|",
    "&a", "*a", "!!x",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PARTS) | ANY_TEXT, min_size=1, max_size=4).map("".join)
ASKED = st.builds(lambda before, after: f"{before}{{question}}{after}", TEXTS, TEXTS)
PLAIN = st.sampled_from(("Be exact.", "One line.\nNo more.", "Final: <int>", "a"))
PIECES = {
    "name": written(st.sampled_from(("brief", "few_shot_chat", "Brief", "a b", "", ".", "a" * 65))),
    "version": st.sampled_from(("1", "1", "2", "0", "-1", "1.0", "true", "1e3", "0o7", "9" * 30)),
    "form": written(st.sampled_from(("chat", "plain", "chat", "Chat"))),
    "instruction": written(st.just("{question}\nOne line.") | ASKED),
    "system": written(PLAIN | TEXTS),
    "answer_tokens": st.sampled_from(("16", "256", "0", "4097", '"16"', "null")),
    "reasons": st.sampled_from(("true", "false", "yes", "0", '"true"')),
}
EXAMPLE = {"question": written(PLAIN | TEXTS), "answer": written(PLAIN | TEXTS)}


def template_yaml() -> SearchStrategy[bytes]:
    """Templates as YAML: in lines, or as JSON, which YAML is too."""
    return encoded(_in_lines(": ", _examples_of_yaml) | record(PIECES))


def template_toml() -> SearchStrategy[bytes]:
    """Templates as TOML."""
    return encoded(_in_lines(" = ", _examples_of_toml))


@st.composite
def _in_lines(draw: DrawFn, sign: str, examples: Callable[[DrawFn], str]) -> str:
    """A field a line; in every third template one is odd, doubled, left out or unknown."""
    names = ["name", "version", "form", "instruction"]
    names += [name for name in ("system", "answer_tokens", "reasons") if draw(st.booleans())]
    harmed = draw(st.sampled_from(names)) if draw(one_in(3)) else None
    lines = []
    for name in names:
        fate = draw(st.integers(1, 4)) if name == harmed else 0
        if fate == 1:
            continue
        value = draw(ODD_JSON if fate == 2 else PIECES[name])
        lines.append(f"{name}{sign}{value}")
        if fate == 3:
            lines.append(lines[-1])
        if fate == 4:
            lines.append(f"{draw(ANY_TEXT)}{sign}{draw(ODD_JSON)}")
    return "\n".join([*lines, examples(draw) if draw(st.booleans()) else ""])


def _examples_of_yaml(draw: DrawFn) -> str:
    shown = draw(st.lists(record(EXAMPLE), max_size=3))
    return "examples:\n" + "".join(f"  - {one}\n" for one in shown)


def _examples_of_toml(draw: DrawFn) -> str:
    return "".join(
        "[[examples]]\n"
        + "".join(
            f"{name} = {draw(value)}\n" for name, value in EXAMPLE.items() if not draw(one_in(9))
        )
        for _ in range(draw(st.integers(0, 3)))
    )
