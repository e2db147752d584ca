"""Recipes: steps in order, from YAML, JSON, or the name of a built-in one."""

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from modelpress.base import Request
from modelpress.problem import FieldProblem, RecipeInvalid
from modelpress.steps import AnyStep, Stage, Step, step_adapter

MOST_STEPS = 100


class Recipe(Request):
    """Steps in order. An empty list means import, measure, export."""

    recipe: list[AnyStep] = Field(
        description="The steps, run in this order; their stages never decrease.",
        max_length=MOST_STEPS,
        examples=[[{"technique": "prune.filters", "macs": 0.5}, {"technique": "recover"}, {"technique": "quantize.int8"}]],
    )

    @model_validator(mode="after")
    def stages_never_decrease(self) -> "Recipe":
        check_order(self.recipe)
        return self


def check_order(steps: list[Any]) -> None:
    """Raise ValueError where a step of an earlier stage follows one of a later stage."""
    reached, because = Stage.STRUCTURE, ""
    for index, step in enumerate(steps):
        stage = step.stage
        if stage is None:
            continue
        if stage < reached:
            raise ValueError(
                f"step {index} ({step.technique}) changes the network's {stage.name.lower()} and can't follow {because}, "
                f"which settled its {reached.name.lower()}; move it before"
            )
        if stage > reached:
            reached, because = stage, f"{step.technique} (step {index})"


def parse_steps(raw: Any) -> list[Step]:
    """Steps from plain data; raises RecipeInvalid with the pointer to every wrong field."""
    if not isinstance(raw, list):
        raise RecipeInvalid(f"`recipe` must be a list of steps, not {type(raw).__name__}")
    steps, errors = [], []
    for index, item in enumerate(raw):
        try:
            steps.append(step_adapter.validate_python(item))
        except ValidationError as error:
            errors += field_problems(error, f"/recipe/{index}")
    if errors:
        raise RecipeInvalid("; ".join(f"{e.pointer}: {e.detail}" for e in errors[:3]), errors=errors)
    try:
        check_order(steps)
    except ValueError as error:
        raise RecipeInvalid(str(error), errors=[FieldProblem(pointer="/recipe", code="order", detail=str(error))]) from None
    return steps


def field_problems(error: ValidationError, prefix: str = "") -> list[FieldProblem]:
    """Pydantic's errors as JSON pointers and plain words; the union's own tags are left out of the path."""
    tags = {step.model_fields["technique"].default for step in _all_steps()} | {"classification", "regression", "match"}
    found = []
    for item in error.errors(include_url=False):
        path = [str(part).replace("~", "~0").replace("/", "~1") for part in item["loc"] if part not in tags]
        found.append(FieldProblem(pointer=prefix + "".join(f"/{p}" for p in path), code=item["type"], detail=item["msg"]))
    return found


def _all_steps() -> tuple[type[Step], ...]:
    from modelpress import steps  # the module itself: its list grows with techniques

    return steps.ALL


def read_recipe(text: str) -> list[Step]:
    """Steps of a YAML or JSON document `recipe: [...]`, or of a bare list."""
    try:
        raw = json.loads(text) if text.lstrip().startswith(("{", "[")) else yaml.safe_load(text)
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise RecipeInvalid(f"not YAML or JSON: {error}") from None
    if isinstance(raw, dict):
        unknown = sorted(set(raw) - {"recipe"})
        if unknown or "recipe" not in raw:
            raise RecipeInvalid(f"a recipe has the one field `recipe`, not {', '.join(unknown) or 'none'}")
        raw = raw["recipe"]
    return parse_steps(raw)


def load_recipe(path: Path) -> list[Step]:
    """Steps of a recipe file; raises RecipeInvalid, or OSError where it can't be read."""
    return read_recipe(path.read_text("utf-8"))


def write_recipe(steps: list[Any]) -> str:
    """The recipe as YAML with all defaults written out."""
    return yaml.safe_dump({"recipe": [step.model_dump(mode="json") for step in steps]}, sort_keys=False)
