"""An error of one process as it is told to another: its whole text, and whose it is.

Nothing that is received is unpickled.
"""

from __future__ import annotations

import json

from schemas.errors import InputError, RanksError


def packed(error: Exception, who: str) -> str:
    """An error of the process `who` as text that `unpacked` reads."""
    if isinstance(error, InputError):
        told = {"what": error.what, "where": error.where, "remedy": error.remedy}
    else:
        told = {"what": " ".join(f"{type(error).__name__}: {error}".split())}
    return json.dumps({"kind": type(error).__name__, "who": who, **told})


def unpacked(text: str) -> InputError | RanksError:
    """The error that another process has packed, with the name of that process."""
    told = json.loads(text)
    kind, who = _input_errors().get(told["kind"]), told["who"]
    if kind is None:
        return RanksError(f"{who} failed: {told['what']}")
    where = f"{who}: {told['where']}" if told["where"] else who
    return kind(told["what"], where, told["remedy"])


def _input_errors() -> dict[str, type[InputError]]:
    """InputError and the kinds of it that this process knows, by name."""
    found: list[type[InputError]] = [InputError]
    for kind in found:
        found += kind.__subclasses__()
    return {kind.__name__: kind for kind in found}
