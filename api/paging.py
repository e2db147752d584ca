"""Lists: `limit` and `cursor`, and query parameters that nobody knows refused."""

from typing import Annotated

from fastapi import Query, Request

from modelpress.problem import FieldProblem, RequestInvalid

Limit = Annotated[int, Query(ge=1, le=100, description="Most items of a page.")]
Cursor = Annotated[str | None, Query(max_length=64, description="`next_cursor` of the page before.")]


def refuse_unknown_query(request: Request) -> None:
    """A misspelt filter must not look like an empty one."""
    known = {param.alias for param in request.scope["route"].dependant.query_params}
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        errors = [
            FieldProblem(
                pointer=f"/query/{name}", code="extra_forbidden", detail=f"there is no parameter {name!r} here"
            )
            for name in unknown
        ]
        hint = f"Known here: {', '.join(sorted(known))}." if known else "This address takes no parameters."
        raise RequestInvalid("; ".join(each.detail for each in errors[:3]), hint=hint, errors=errors)
