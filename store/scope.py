"""The one place where rows are filtered by project: what belongs to another project does not exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from modelpress.problem import NotFound, RequestInvalid
from store.ids import is_id
from store.tables import ApiKey, Artifact, Dataset, Job, Model, Project, Upload

T = TypeVar("T", Upload, Model, Dataset, Job, Artifact, ApiKey)

PREFIX: dict[type[Any], str] = {
    Upload: "upl",
    Model: "mdl",
    Dataset: "dst",
    Job: "job",
    Artifact: "art",
    ApiKey: "key",
}


@dataclass(frozen=True)
class Scope:
    """A session as one project sees it."""

    session: Session
    project: Project

    def select(self, table: type[T], *where: ColumnElement[bool]) -> Select[T]:
        """The project's rows; deleted ones are left out."""
        alive = [table.deleted_at.is_(None)] if table in (Model, Dataset) else []  # type: ignore[union-attr]
        return select(table).where(table.project_id == self.project.id, *alive, *where)

    def get(self, table: type[T], row_id: str, *, lock: bool = False, share: bool = False) -> T:
        """One row; `lock` keeps others from changing it, `share` only from changing. Raises NotFound."""
        statement = self.select(table, table.id == row_id)
        if lock or share:
            statement = statement.with_for_update(read=share)
        options = {"populate_existing": True}
        row = (
            self.session.scalars(statement, execution_options=options).one_or_none()
            if is_id(row_id, PREFIX[table])
            else None
        )
        if row is None:
            raise NotFound(f"there is no {row_id}")
        return row

    def page(
        self, table: type[T], limit: int, cursor: str | None, *where: ColumnElement[bool]
    ) -> tuple[Sequence[T], str | None]:
        """Rows from the newest on, and the cursor of the next page if there is one. A cursor is the last id seen."""
        if cursor is not None:
            if not is_id(cursor, PREFIX[table]):
                raise RequestInvalid("`cursor` is not one of ours", hint="Pass `next_cursor` of the page before.")
            where = (*where, table.id < cursor)
        rows = self.session.scalars(self.select(table, *where).order_by(table.id.desc()).limit(limit + 1)).all()
        return rows[:limit], rows[limit - 1].id if len(rows) > limit else None
