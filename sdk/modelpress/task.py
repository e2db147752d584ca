"""Tasks: what the outputs mean, so that a figure can be put on them."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from modelpress.base import Request

OutputName = Field(default=None, description="The output that is judged; left out means the first.", max_length=500)


class Classification(Request):
    """Classes 0..n-1 against integer labels: `top1` and `top5`, as fractions."""

    type: Literal["classification"] = "classification"
    output: str | None = OutputName


class Regression(Request):
    """Numbers against numbers: `rmse` and `mae`, in the labels' unit, and `r2`."""

    type: Literal["regression"] = "regression"
    output: str | None = OutputName


class Match(Request):
    """No labels: `agreement` (same class, where the output has classes) and `relative_error` against the original."""

    type: Literal["match"] = "match"
    output: str | None = OutputName


Task = Annotated[Classification | Regression | Match, Field(discriminator="type")]

task_adapter: TypeAdapter[Task] = TypeAdapter(Task)
