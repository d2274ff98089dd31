"""What MLflow or Prefect was not told while their server was away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from artifacts.doctor.examination import Examination, Found, Repair
from artifacts.doctor.set_aside import SetAside
from artifacts.unsent.journal import RECORDS, SENT, read_kept, read_sent, unsent_folder
from schemas.errors import StoreError


def check_unsent(at: Examination) -> Iterator[Found]:
    """Every file of records that no command goes on writing."""
    for path in sorted(unsent_folder(at.data_dir).glob(f"*{RECORDS}")):
        try:
            kept = read_kept(path)
            sent, _ = read_sent(path)
        except FileNotFoundError:  # it was sent meanwhile
            continue
        except StoreError as error:
            yield at.found("damaged-unsent", path, error.what, _both_moved(path))
            continue
        waiting = len(kept.records) - sent
        if waiting and not kept.in_use:
            what = f"{waiting} of {len(kept.records)} records wait for {kept.to} at {kept.address}"
            yield at.found("unsent", path, what)


def _both_moved(path: Path) -> Repair:
    """Set the records aside together with the note of how far they were sent."""

    def repair(aside: SetAside) -> str:
        done = [aside.move(one) for one in (path, path.with_suffix(SENT)) if one.exists()]
        return ", ".join(done)

    return Repair(repair)
