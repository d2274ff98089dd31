"""What MLflow or Prefect was not told while their server was away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from artifacts.doctor.examination import Examination, Found, Repair
from artifacts.doctor.set_aside import SetAside
from artifacts.store.data_dir import DataDir
from artifacts.unsent.journal import (
    RECORDS,
    SENT,
    claimed,
    read_kept,
    read_sent,
    refusal,
    unsent_folder,
)
from schemas.errors import StoreError


def check_unsent(at: Examination) -> Iterator[Found]:
    """Every file of records that no command goes on writing."""
    for path in _files(at.data_dir):
        try:
            kept = read_kept(path)
            sent, _ = read_sent(path)
            waiting = len(kept.records) - sent
            if not waiting or kept.in_use:
                continue
            refused = refusal(path)
        except FileNotFoundError:  # it was sent meanwhile
            continue
        except StoreError as error:
            yield at.found("damaged-unsent", path, error.what, _moved(at.data_dir, path))
            continue
        what = f"{waiting} of {len(kept.records)} records wait for {kept.to} at {kept.address}"
        if refused:
            what = f"{refused}; {what}"
            yield at.found("refused-unsent", path, what, _moved(at.data_dir, path))
        else:
            yield at.found("unsent", path, what)


def _moved(data_dir: DataDir, path: Path) -> Repair:
    """Set the records aside with the note of how far they were sent, and files for them alone."""

    def repair(aside: SetAside) -> str | None:
        with claimed(path) as mine:
            if not mine:
                return None
            copies = _copies(path)
            for other in _files(data_dir):
                copies -= _copies(other) if other != path else set()
            files = (path, path.with_suffix(SENT), *(data_dir.root / one for one in sorted(copies)))
            return ", ".join([aside.move(one) for one in files if one.exists()])

    return Repair(repair)


def _copies(path: Path) -> set[str]:
    """The files that records keep for the server, as paths in the data folder."""
    try:
        return {str(one["file"]) for one in read_kept(path).records if "file" in one}
    except (FileNotFoundError, StoreError):
        return set()


def _files(data_dir: DataDir) -> list[Path]:
    return sorted(unsent_folder(data_dir).glob(f"*{RECORDS}"))
