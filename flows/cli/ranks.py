"""`learn` in several processes: rank 0 is the command, the others do what it tells, silently."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from artifacts.store.keys import code_versions
from flows.cli.experiment import in_experiment
from flows.cli.garbage import search_as_usual
from policy.parallel.place import Place, place_in
from schemas.config import Compute
from schemas.errors import InputError, RanksError, ThreeLoopsError
from tasks.runtime.runtime import Runtime, process_runtime

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("engines", "flows", "policy", "schemas", "scorers", "tasks", "artifacts")
_met = False  # whether this process has come to where it meets those that it leads


@contextlib.contextmanager
def leading(runtime: Runtime, place: Place, options: Namespace) -> Iterator[None]:
    """Within the block, the others do what this process tells them.

    Raises InputError where they are not like this one, and RanksError, with what to do, where one
    of them has gone.
    """
    from artifacts.runs.resuming import how_to_go_on
    from policy.parallel.join import joined

    global _met
    _met = True
    try:
        with joined(place, _compute(runtime, options), identity(options)) as runtime.group:
            yield
    except RanksError as lost:
        raise lost.having(lost.remedy or how_to_go_on(runtime.archive)) from None
    finally:
        runtime.group = None
        vars(runtime).pop("models", None)


def end_who_waits() -> None:
    """Let processes that this one was to lead end too, where it failed before it met them."""
    with contextlib.suppress(InputError):
        if not _met and (place := place_in(os.environ)) is not None:
            from policy.parallel.join import refuse

            refuse(place)


def follow(arguments: Sequence[str] | None) -> int:
    """Do what rank 0 tells until it has ended; returns the exit code.

    Nothing is shown: rank 0 shows what is to be seen, also of a bad option. Only where rank 0 has
    gone, one of the others says so; and a defect is told by whoever has it.
    """
    from flows.cli.failures import explained
    from flows.cli.stopping import ending_when_asked

    stderr = os.dup(2)
    _show_nothing()
    try:
        place = place_in(os.environ)
    except InputError:
        return 2
    assert place is not None
    with ending_when_asked() as asked:
        try:
            _follow(place, arguments, stderr)
        except RanksError as lost:
            said = lost.having(lost.remedy or "go on with: threeloops learn --resume RUN")
            os.write(stderr, f"threeloops: {said}\n".encode())
            return 1
        except ThreeLoopsError as error:
            return 2 if isinstance(error, InputError) else 1
        except KeyboardInterrupt:
            return asked.code()
        except Exception as error:
            line, code = explained(error, None)
            os.write(stderr, f"threeloops: rank {place.rank}: {line}\n".encode())
            return code
    return 0


def _follow(place: Place, arguments: Sequence[str] | None, stderr: int) -> None:
    from artifacts.store.data_dir import private_files
    from flows.cli.parser import parsed
    from policy.parallel.join import joined, refuse
    from policy.parallel.watch import EndedError

    with contextlib.ExitStack() as until_it_ends:
        try:
            options = parsed(arguments)
            if "print_config" in options:  # rank 0 prints it alone
                return
            until_it_ends.enter_context(private_files())
            until_it_ends.enter_context(in_experiment(options))
            archive = process_runtime().archive
        except Exception as error:
            refuse(place, error)
            raise
        until_it_ends.enter_context(contextlib.suppress(EndedError))
        group = until_it_ends.enter_context(joined(place, Compute(), identity(options), stderr))
        from tasks.runtime.sharing import Follower

        search_as_usual()
        Follower(group, archive).follow()


def _compute(runtime: Runtime, options: Namespace) -> Compute:
    """Where and how the options say to compute, or the run that is resumed has said."""
    from artifacts.runs.resuming import settings_of

    if options.resume is not None:
        with contextlib.suppress(ThreeLoopsError):  # what is wrong is said later, to all
            return settings_of(runtime.archive.history.find(options.resume)).compute
    given = vars(options)
    return Compute(**{name: given[name] for name in Compute.model_fields if name in given})


def identity(options: Namespace) -> dict[str, str]:
    """What must be equal in all processes, by name: the command's options, code and packages."""
    given = {name: str(value) for name, value in vars(options).items() if value is not None}
    return {**code_versions(), "code": code_digest(), **given}


def code_digest() -> str:
    """SHA-256 over the files of this program, with their names."""
    digest = hashlib.sha256()
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            digest.update(f"{file.relative_to(ROOT)}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _show_nothing() -> None:
    """Let what this process, or a library in it, prints go nowhere."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)
