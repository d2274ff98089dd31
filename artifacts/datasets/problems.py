"""Problems by the name of a dataset: built in, made by a generator, a file, a folder, or the hub.

Every fault of a row is one line that names it; nothing is repaired, dropped or guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from artifacts.datasets import arithmetic, gym, hub
from artifacts.datasets.checked import ALL_ROWS
from artifacts.datasets.files import AS_NAMED, READABLE, read_problem_file, read_split
from artifacts.datasets.folder import folder_named, folder_splits
from artifacts.datasets.gym import GymDataset
from artifacts.datasets.hub import HubDatasets
from artifacts.datasets.layout import Splits
from artifacts.store.data_dir import DataDir, current_data_dir
from schemas.config import Columns
from schemas.errors import InputError
from schemas.files import is_file


@dataclass(frozen=True)
class BuiltIn:
    """A dataset that needs no file: its splits, and the problems table of a split."""

    splits: tuple[str, ...]
    problems: Callable[[str], pa.Table]


BUILT_IN: Mapping[str, BuiltIn] = {
    arithmetic.NAME: BuiltIn(arithmetic.SPLITS, arithmetic.arithmetic),
}


class Datasets:
    """Datasets as one process reads them: a file is parsed once, and again only if it changed.

    `parsed` counts the files that were parsed. What is fetched from the hub is kept in the data
    folder. What was asked for just now is read `strict`: a named column has to be there. What an
    earlier run was asked for is read as it was then.
    """

    strict = False

    def __init__(self, data_dir: DataDir | None = None) -> None:
        self.parsed = 0
        self._data_dir = data_dir
        self._tables: dict[tuple[object, Columns], tuple[object, pa.Table]] = {}
        self._gym: dict[str, GymDataset] = {}
        self._commits: dict[str, str] = {}

    def load(
        self, dataset: str, split: str, limit: int | None = None, columns: Columns = AS_NAMED
    ) -> pa.Table:
        """The first `limit` problems of a split, as a problems table.

        A file may have a column `split`; without one, all its rows are measured, whatever `split`
        says, and the table says so (`split` is "all"). Raises InputError with the row and the
        reason.
        """
        if (known := self._by_split(dataset, columns)) is None:
            table = select_split(self._file(dataset, columns), split, dataset)
        elif split in known.splits:
            table = known.problems(split)
        else:
            raise InputError(
                f"no split {split!r}",
                f"dataset {dataset}",
                f"use one of {', '.join(known.splits)}",
            )
        return table.slice(0, limit) if limit else table

    def pinned(self, dataset: str) -> str:
        """The name that means the same problems for ever: with the commit, for one of the hub.

        The hub is asked each time, and `load` means what it said last.
        """
        if not dataset.startswith(hub.PREFIX):
            return dataset
        self._commits[dataset] = self._hub.pinned(dataset)
        return self._commits[dataset]

    def source(self, dataset: str) -> str:
        """Where problems are from, beyond what they say: it is a part of the instrument.

        A commit of the hub, or a generator with all its settings; empty for everything else.
        """
        if dataset.startswith(hub.PREFIX):
            return self._at_commit(dataset)
        return self._made(dataset).identity if dataset.startswith(gym.PREFIX) else ""

    def has_split(self, dataset: str, split: str, columns: Columns = AS_NAMED) -> bool:
        """Whether a dataset has rows of this split; a file that knows no splits has none."""
        if (known := self._by_split(dataset, columns)) is not None:
            return split in known.splits
        return split in self._file(dataset, columns)["split"].unique().to_pylist()

    def has_splits(self, dataset: str, columns: Columns = AS_NAMED) -> bool:
        """Whether a dataset has splits; of a file that has none, all rows are measured."""
        if self._by_split(dataset, columns) is not None:
            return True
        return bool(self._file(dataset, columns)["split"].unique().to_pylist() != [ALL_ROWS])

    def whole(self, dataset: str, columns: Columns = AS_NAMED) -> pa.Table:
        """Every problem of a dataset, whatever its split."""
        return pa.concat_tables(self._all(dataset, columns))

    def split_of(self, dataset: str, identity: str, columns: Columns = AS_NAMED) -> str | None:
        """The split of the problem with this id, None where no split has it."""
        for table in self._all(dataset, columns):
            if (row := table["problem_id"].index(identity).as_py()) >= 0:
                return str(table["split"][row].as_py())
        return None

    def expected_answers(self, dataset: str, columns: Columns = AS_NAMED) -> dict[str, str]:
        """The expected answer of every problem of a dataset by its id, whatever its split.

        Raises InputError where two splits have problems with one id and different answers.
        """
        answers: dict[str, str] = {}
        for table in self._all(dataset, columns):
            pairs = (table[name].to_pylist() for name in ("problem_id", "expected_answer"))
            for identity, expected in zip(*pairs, strict=True):
                if answers.setdefault(identity, expected) != expected:
                    raise InputError(
                        f"the id {identity!r} has another answer in each of two splits",
                        f"dataset {dataset}",
                        "name another --id-column",
                    )
        return answers

    def _all(self, dataset: str, columns: Columns) -> list[pa.Table]:
        if (known := self._by_split(dataset, columns)) is not None:
            return [known.problems(split) for split in known.splits]
        return [self._file(dataset, columns)]

    def _by_split(self, dataset: str, columns: Columns) -> BuiltIn | None:
        """A dataset that is read split by split, None for a file."""
        if self.strict and columns.split_by_hash is not None:
            _refuse_other_sum(columns.split_by_hash)
        if (built_in := BUILT_IN.get(dataset)) is not None:
            if self.strict:
                _refuse_columns(dataset, columns)
            return built_in
        if dataset.startswith(gym.PREFIX):
            _refuse_columns(dataset, columns)
            return BuiltIn(gym.SPLITS, self._made(dataset).problems)
        if dataset.startswith(hub.PREFIX):
            pinned = self._at_commit(dataset)
            return self._repository(
                pinned, self._hub.splits(pinned), columns, lambda of: self._hub.files(pinned, of)
            )
        if (named := folder_named(dataset)) is not None:
            folder, config = named
            splits, state = folder_splits(folder, config)
            return self._repository(
                dataset, splits, columns, lambda of: [folder / path for path in of], state
            )
        return None

    def _repository(
        self,
        name: str,
        splits: Splits,
        columns: Columns,
        found: Callable[[tuple[str, ...]], list[Path]],
        state: object = None,
    ) -> BuiltIn:
        """A dataset in the hub's layout; `found` are the files of paths, `state` that of all.

        One with a single split may be split by hash.
        """

        def rows_of(split: str) -> pa.Table:
            key = ((name, split), columns)
            asked = (state, splits[split])
            known = self._tables.get(key)
            if known is None or known[0] != asked:
                self.parsed += 1
                paths = found(splits[split])
                table = read_split(paths, split, columns, name, strict=self.strict)
                known = self._tables[key] = (asked, table)
            return known[1]

        if self.strict and columns.split_column != AS_NAMED.split_column:
            raise InputError(
                f"the splits are those of the dataset: {', '.join(splits)}",
                f"--split-column {columns.split_column}",
                "leave it out, and name one with --split",
            )
        if not splits:
            raise InputError("has no file of rows", f"--dataset {name}", f"use {READABLE}")
        if columns.split_by_hash is None:
            return BuiltIn(tuple(splits), rows_of)
        if len(splits) > 1:
            raise InputError(
                f"has the splits {', '.join(splits)}",
                f"--dataset {name}",
                "leave --split-by-hash out",
            )
        whole = rows_of(next(iter(splits)))
        names = tuple(dict.fromkeys(whole["split"].to_pylist()))
        return BuiltIn(names, lambda split: select_split(whole, split, name))

    def _made(self, dataset: str) -> GymDataset:
        if dataset not in self._gym:
            self._gym[dataset] = GymDataset(dataset)
        return self._gym[dataset]

    def _at_commit(self, dataset: str) -> str:
        return self._commits.get(dataset) or self.pinned(dataset)

    @property
    def _hub(self) -> HubDatasets:
        return HubDatasets((self._data_dir or current_data_dir()).datasets)

    def _file(self, name: str, columns: Columns) -> pa.Table:
        path = Path(name).absolute()
        state = (path.stat().st_mtime_ns, path.stat().st_size) if is_file(path) else (0, 0)
        known = self._tables.get((path, columns))
        if known is None or known[0] != state:
            self.parsed += 1
            table = read_problem_file(name, columns, strict=self.strict)
            known = self._tables[path, columns] = (state, table)
        return known[1]


def _refuse_columns(dataset: str, columns: Columns) -> None:
    """InputError for what says how to read a file, where there is none."""
    for name, value in columns.model_dump(exclude_defaults=True).items():
        option = f"--{name.replace('_', '-')}"
        raise InputError(
            f"{option} {value} is for files", f"dataset {dataset}", f"leave {option} out"
        )


def _refuse_other_sum(shares: str) -> None:
    total = sum(int(part) for part in shares.split("/"))
    if total != 100:
        raise InputError(
            f"its parts make {total} in all, not 100",
            f"--split-by-hash {shares}",
            "give two or three, as 80/20 or 80/10/10",
        )


def select_split(table: pa.Table, split: str, where: str) -> pa.Table:
    """The rows of one split; all rows where the file knows no splits."""
    import pyarrow.compute as pc

    names = table["split"].unique().to_pylist()
    if names == [ALL_ROWS]:
        return table
    chosen = table.filter(pc.equal(table["split"], split))
    if not chosen.num_rows:
        raise InputError(f"no row has the split {split!r}", where, f"it has {', '.join(names)}")
    return chosen


def refuse_shared_prompts(train: pa.Table, measured: pa.Table, where: str) -> None:
    """InputError when a measured prompt is also trained on: its rate would measure memory."""
    seen = set(train["prompt"].to_pylist())
    for identity, prompt in zip(
        measured["problem_id"].to_pylist(), measured["prompt"].to_pylist(), strict=True
    ):
        if prompt in seen:
            raise InputError(
                f"problem {identity!r} is measured, but its prompt is also trained on",
                where,
                _apart(measured),
            )


def _apart(measured: pa.Table) -> str:
    """How problems become those of training and of measuring."""
    if measured["split"].unique().to_pylist() == [ALL_ROWS]:
        return "name the column of splits with --split-column, or add --split-by-hash 80/20"
    return "leave the prompt in one of the two splits"
