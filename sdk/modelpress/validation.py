"""Requests from plain data; what pydantic finds wrong becomes pointers and plain words."""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from modelpress.problem import FieldProblem, RequestInvalid
from modelpress.steps import ALL, name_of

M = TypeVar("M", bound=BaseModel)

UNION_TAGS = {name_of(cls) for cls in ALL} | {"classification", "regression", "match"}
UNION_TAGS |= {"(steps)", "(name)", "(range)", "(fraction)"}
"""Parts of pydantic's paths that name a member of a union rather than a field."""


def parse_request(model: type[M], raw: Any) -> M:
    """`raw` as a `model`; raises RequestInvalid with the pointer to every wrong field."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        errors = field_problems(error)
        raise RequestInvalid("; ".join(f"{e.pointer}: {e.detail}" for e in errors[:3]), errors=errors) from None


def field_problems(error: ValidationError, prefix: str = "") -> list[FieldProblem]:
    """Pydantic's errors as JSON pointers and plain words; the unions' own tags are left out of the path."""
    return problems_of(error.errors(include_url=False), prefix)


def problems_of(items: Sequence[ErrorDetails], prefix: str = "") -> list[FieldProblem]:
    """The same for errors that somebody else took out of their exception, as a web framework does."""
    found = []
    for item in items:
        path = [str(part) for part in item["loc"] if part not in UNION_TAGS]
        if item["type"] == "order":
            path.append(str(item.get("ctx", {})["index"]))
        if item["type"].startswith("union_tag"):
            path.append(item.get("ctx", {})["discriminator"].strip("'"))
        parts = [f"/{part.replace('~', '~0').replace('/', '~1')}" for part in path]
        found.append(FieldProblem(pointer=prefix + "".join(parts), code=item["type"], detail=_in_words(item)))
    return found


def _in_words(item: ErrorDetails) -> str:
    if item["type"] == "extra_forbidden":
        return f"there is no field {item['loc'][-1]!r} here"
    came = item["input"]
    words = item["msg"].removeprefix("Value error, ")
    return f"{words}, not {came!r}" if isinstance(came, int | float | str) and len(repr(came)) < 60 else words
