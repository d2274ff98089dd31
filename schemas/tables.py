"""What a table of one kind must look like: Arrow types, and pandera checks over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from schemas.errors import StoreError

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, whether it may hold nulls, and the values that it may take.

    `at_least`/`at_most` bound numbers, `one_of` lists the legal values, `pattern` is a regular
    expression that the whole string matches, `not_empty` refuses the empty string.
    """

    type: pa.DataType
    nullable: bool = False
    at_least: float | None = None
    at_most: float | None = None
    one_of: Sequence[str] | None = None
    pattern: str | None = None
    not_empty: bool = False


@dataclass(frozen=True)
class TableSchema:
    """A kind of table. Columns are strict and ordered; `key` columns are unique together.

    `renamed` maps the column names of earlier versions to those of today; `added` are nullable
    columns that earlier versions did not write.
    """

    kind: str
    columns: Mapping[str, Column]
    key: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)
    added: Sequence[str] = ()

    @cached_property
    def arrow(self) -> pa.Schema:
        """The Arrow schema, without metadata."""
        return pa.schema(
            [pa.field(name, c.type, nullable=c.nullable) for name, c in self.columns.items()]
        )

    def upgrade(self, table: pa.Table) -> pa.Table:
        """A table as an earlier version wrote it, with the columns of today; new ones are null."""
        given = set(table.column_names)
        if not given & set(self.renamed) and given >= set(self.added):
            return table  # today's, or one that `validate` refuses
        metadata = table.schema.metadata  # pyarrow drops it when it renames
        table = table.rename_columns([self.renamed.get(name, name) for name in table.column_names])
        table = table.replace_schema_metadata(metadata)
        for name in self.added:
            if name not in table.column_names:
                nulls = pa.nulls(table.num_rows, self.columns[name].type)
                table = table.append_column(self.arrow.field(name), nulls)
        if set(table.column_names) != set(self.columns):
            return table  # `validate` says what is wrong with it
        return table.select(list(self.columns))

    @cached_property
    def pandera(self) -> DataFrameSchema:
        """The pandera schema over Arrow-backed pandas columns."""
        import pandas as pd
        import pandera.pandas as pandera

        def checks(column: Column) -> list[Any]:
            made: list[Any] = []
            if column.at_least is not None:
                made.append(pandera.Check.ge(column.at_least))
            if column.at_most is not None:
                made.append(pandera.Check.le(column.at_most))
            if column.one_of is not None:
                made.append(pandera.Check.isin(list(column.one_of)))
            if column.pattern is not None:
                made.append(pandera.Check.str_matches(column.pattern))
            if column.not_empty:
                made.append(pandera.Check.str_length(min_value=1))
            return made

        return pandera.DataFrameSchema(
            {
                name: pandera.Column(
                    pd.ArrowDtype(c.type), checks(c), nullable=c.nullable, required=True
                )
                for name, c in self.columns.items()
            },
            strict=True,
            ordered=True,
            unique=list(self.key),
            name=self.kind,
        )

    def validate(self, table: pa.Table, where: str = "") -> pa.Table:
        """Return `table` cast to this schema, or raise StoreError naming column and first bad row.

        A table with no rows is refused: nothing can be measured on it.
        """
        import pandas as pd
        import pandera.pandas as pandera

        where = where or f"{self.kind} table"
        if table.column_names != list(self.columns):
            raise StoreError(
                f"columns are {', '.join(table.column_names)}",
                where,
                f"a {self.kind} table has {', '.join(self.columns)}",
            )
        if table.num_rows == 0:
            raise StoreError("has no rows", where, "give at least one")
        for name, column in self.columns.items():
            if table[name].null_count and not column.nullable:
                row = table[name].is_null().index(True).as_py() + 1
                raise StoreError(f"column {name} is null in row {row}", where, "give a value")
        metadata = table.schema.metadata
        try:
            cast = table.replace_schema_metadata(None).cast(self.arrow).combine_chunks()
        except (pa.ArrowException, ValueError) as error:
            raise StoreError(str(error).splitlines()[0], where) from None
        try:
            self.pandera.validate(cast.to_pandas(types_mapper=pd.ArrowDtype), lazy=True)
        except pandera.errors.SchemaErrors as error:
            first = error.failure_cases.iloc[0]
            row = "" if pd.isna(first["index"]) else f" in row {int(first['index']) + 1}"
            case = str(first["failure_case"])[:60]
            raise StoreError(
                f"column {first['column']} fails {first['check']}{row} ({case!r}), "
                f"{len(error.failure_cases)} failures in all",
                where,
            ) from None
        return cast.replace_schema_metadata(metadata)
