"""What every type of the contract shares: strict on the way in, lenient on the way out."""

from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

CONTRACT = 1
"""Version of these types as they lie in rows and job folders; a worker claims only what it knows."""


def _make_numbers_strict(schema: Any) -> None:
    """In place: `"1"` and `true` are no numbers and `1` is no truth value; whole numbers are still floats."""
    if isinstance(schema, dict):
        if schema.get("type") in ("int", "float", "bool"):
            schema["strict"] = True
        for key, part in schema.items():
            if key not in ("metadata", "default"):
                _make_numbers_strict(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            _make_numbers_strict(part)


class Request(BaseModel):
    """Something a user says: what is unknown is refused, and so are NaN, infinity, and numbers in quotes."""

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Numbers alone are strict: tuples still come as JSON's lists, and moments as its strings."""
        schema = handler(source)
        _make_numbers_strict(schema)
        return schema


class Answer(BaseModel):
    """Something we say: what a newer server adds is kept."""

    model_config = ConfigDict(extra="allow")
