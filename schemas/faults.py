"""What is wrong with a value of a configuration or of a template, and where, in plain words."""

from __future__ import annotations

from pydantic_core import ErrorDetails

# parts of a place that only say which of two forms a template was taken for
FORMS = ("name", "written")
WORDS = {
    "missing": "is missing",
    "string_type": "is not text",
    "bool_type": "is neither true nor false",
    "tuple_type": "is not a list",
    "model_type": "is not a list of names with values",
    "model_attributes_type": "is not a list of names with values",
    "finite_number": "is not a finite number",
}
REMEDIES = {"string_type": "write it in quotes"}
BOUNDS = {
    "greater_than_equal": ("less than", "ge"),
    "greater_than": ("not more than", "gt"),
    "less_than_equal": ("more than", "le"),
    "less_than": ("not less than", "lt"),
}


def told(error: ErrorDetails) -> tuple[str, str]:
    """What is wrong with a value, and what to give."""
    return _what_is_wrong(error), _what_to_give(error)


def place_of(error: ErrorDetails) -> str:
    """Where a value stands: `sampling.top_k`, or `template.examples.2.answer`, counted from 1."""
    parts = list(error["loc"])
    if len(parts) > 1 and parts[0] == "template" and parts[1] in FORMS:
        del parts[1]
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in parts)


def _what_is_wrong(error: ErrorDetails) -> str:
    """An error in our words, where the library's are not plain."""
    kind, limits = error["type"], error.get("ctx", {})
    if kind in WORDS:
        return WORDS[kind]
    if kind.startswith(("int_parsing", "int_from", "int_type")):
        return "is not a whole number"
    if kind.startswith(("float_parsing", "float_type")):
        return "is not a number"
    if kind in BOUNDS:
        word, limit = BOUNDS[kind]
        bound = limits[limit]
        return f"is {word} {bound if isinstance(bound, int) else f'{bound:g}'}"
    if kind == "value_error":
        return str(limits["error"])
    return f"{error['msg'][0].lower()}{error['msg'][1:]}"


def _what_to_give(error: ErrorDetails) -> str:
    kind = error["type"]
    quoted = kind.endswith("_type") and isinstance(error["input"], str)
    if kind.startswith(("int_", "float_")):
        digits = f"give digits, as {20 if kind.startswith('int_') else 0.5}"
        return f"{digits}, without quotes" if quoted else digits
    if kind == "bool_type" and quoted:
        return "write it without quotes"
    return REMEDIES.get(kind, "")
