"""The verb `gc`: what nothing refers to is counted, or dropped."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence

from artifacts.garbage.dropped import drop_garbage
from artifacts.garbage.found import Garbage, find_garbage
from artifacts.garbage.references import references_of
from flows.cli.render.garbage import print_garbage
from flows.cli.terminal import Terminal
from schemas.errors import InputError
from schemas.garbage import Dropped, GcOutput
from tasks.runtime.progress import Progress
from tasks.runtime.runtime import Runtime


def collect(runtime: Runtime, options: Namespace, terminal: Terminal) -> GcOutput:
    """Look at everything that is kept; with `--delete`, drop what nothing refers to."""
    if options.older_than < 1:
        raise InputError("is less than 1", f"--older-than {options.older_than}")
    archive, hub = runtime.archive, runtime.progress
    terminal.note("looking for what no run, version or checkpoint refers to")
    references = references_of(archive)
    found = find_garbage(archive, references, options.older_than)
    gone = found.garbage
    if options.delete:
        total = len(found.garbage)

        def tell(done: int) -> None:
            hub.report(Progress("dropping", done, total, "files"))

        with terminal.progress(hub):
            gone = tuple(drop_garbage(archive, found, tell))
    root = archive.data_dir.root
    output = GcOutput(
        folder=str(root),
        deleted=options.delete,
        kinds=_by_kind(gone),
        bytes=sum(one.bytes for one in gone),
        paths=tuple(one.path.relative_to(root).as_posix() for one in gone),
        kept_tables=found.kept_tables,
        hours=options.older_than,
        underway=tuple(references.underway),
        in_use=len(found.garbage) - len(gone),
        store=archive.shared.address if archive.shared is not None else None,
    )
    print_garbage(terminal.out, output)
    return output


def _by_kind(garbage: Sequence[Garbage]) -> Mapping[str, Dropped]:
    kinds: dict[str, list[int]] = {}
    for one in garbage:
        kinds.setdefault(one.kind, []).append(one.bytes)
    return {kind: Dropped(count=len(of), bytes=sum(of)) for kind, of in sorted(kinds.items())}
