"""The runs of which something is still to be sent: nobody may close them or go on with them."""

from __future__ import annotations

from artifacts.store.data_dir import DataDir
from artifacts.unsent.journal import read_kept, read_sent, unsent_files
from artifacts.unsent.send import TO


def runs_waiting(data_dir: DataDir, *, of_others: bool = False) -> set[str]:
    """The ids of the runs that unsent records are about, ours and the server's.

    With `of_others`, what this process keeps is left out. Raises StoreError for a damaged file.
    """
    found: set[str] = set()
    for path in unsent_files(data_dir, TO):
        try:
            kept, (done, names) = read_kept(path), read_sent(path)
        except FileNotFoundError:  # it was sent meanwhile
            continue
        if of_others and kept.is_own:
            continue
        for record in kept.records[done:]:
            ids = {record.get("run"), record["id"] if record["call"] == "create run" else None}
            found |= {str(one) for one in ids if one}
        found |= {names[one] for one in found & names.keys()}
    return found
