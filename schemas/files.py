"""Files that a person names: whether one is there, which kind it is, and JSON within limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from schemas.errors import InputError

MOST_JSON_BYTES = 32 * 2**20
MOST_JSON_DEPTH = 64  # objects and lists inside one another
Source = Literal["answers", "table", "run"]


def ending(name: str | Path) -> str:
    """The ending of a file's name in lower case, as `.jsonl` of `A.JSONL`."""
    return Path(name).suffix.lower()


def is_file(path: Path) -> bool:
    """Whether a file is there; a name that no file can have, as one too long, names none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def exists(path: Path) -> bool:
    """Whether a file or folder is there, in the same way."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def of_user(name: str) -> Path:
    """The path of a name in which `~` may stand for a home; one of nobody's is taken literally."""
    try:
        return Path(name).expanduser()
    except (RuntimeError, ValueError):
        return Path(name)


def source_of(name: str) -> Source:
    """What `--completions` names: one of our tables, a file of answers, or else a run.

    A file of answers does not say which problems it answers: JSON lines, a log of another program,
    or its table. A file that is there is one whatever its ending; an ending alone tells files that
    are missing.
    """
    if ending(name) == ".parquet":
        return "answers" if _has_prompts(Path(name)) else "table"
    return "answers" if ending(name) in (".jsonl", ".eval") or is_file(Path(name)) else "run"


def _has_prompts(path: Path) -> bool:
    """Whether a Parquet file is another program's, which names prompts in place of problems."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names if is_file(path) else []
    except (pa.ArrowException, OSError, ValueError):  # reading it gives the reason
        return False
    return "problem_id" not in names and {"prompt", "completion"} <= set(names)


def json_object(content: bytes, where: str) -> dict[str, Any]:
    """The JSON object in some bytes; InputError for anything else and for one nested deeper than
    what libraries can copy and print.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"cannot be read as JSON ({reason})", where) from None
    if not isinstance(value, dict):
        raise InputError("is not a JSON object", where)
    level: list[Any] = [value]
    for _ in range(MOST_JSON_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise InputError(f"is JSON nested more than {MOST_JSON_DEPTH} deep", where)


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; InputError also for one that is larger than any configuration.

    Raises FileNotFoundError where there is no such file.
    """
    if exists(path) and not (is_file(path) or path.is_dir()):  # a pipe would be waited for
        raise InputError("is no plain file", str(path))
    try:
        with path.open("rb") as file:
            content = file.read(MOST_JSON_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(path)) from None
    if len(content) > MOST_JSON_BYTES:
        raise InputError(f"is larger than {MOST_JSON_BYTES // 2**20} MB", str(path))
    return json_object(content, str(path))


def _inside(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value
    return [one for one in inner if isinstance(one, dict | list)]
