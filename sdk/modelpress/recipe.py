"""Recipes: steps in order, from YAML, JSON, or the name of a built-in one."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from modelpress.base import Request
from modelpress.problem import FieldProblem, RecipeInvalid
from modelpress.steps import AnyStep, Stage, Step, step_adapter
from modelpress.validation import field_problems

MOST_STEPS = 100


OutOfOrder = PydanticCustomError
"""A ValueError that knows the offending step: `problems_of` makes it part of the pointer."""


def out_of_order(index: int, detail: str) -> OutOfOrder:
    return OutOfOrder("order", "{detail}", {"detail": detail, "index": index})


def check_order(steps: Sequence[Step]) -> None:
    """Raise OutOfOrder where a step of an earlier stage follows one of a later stage, or quantises again."""
    reached, because = Stage.STRUCTURE, ""
    quantised: int | None = None
    for index, step in enumerate(steps):
        if step.technique == "quantize.int8":
            if quantised is not None:
                raise out_of_order(
                    index,
                    f"step {index} (quantize.int8) finds the network already quantised by step {quantised}; "
                    "quantise all layers in one step",
                )
            quantised = None if step.on_failure == "skip" else index
        stage = step.stage
        if stage is None:
            continue
        if stage < reached:
            raise out_of_order(
                index,
                f"step {index} ({step.technique}) changes the network's {stage.name.lower()} and can't follow "
                f"{because}, which settled its {reached.name.lower()}; move it before",
            )
        if stage > reached:
            reached, because = stage, f"{step.technique} (step {index})"


def in_order(steps: list[Any]) -> list[Any]:
    """`check_order` as a validator."""
    check_order(steps)
    return steps


class Recipe(Request):
    """Steps in order. An empty list means import, measure, export."""

    recipe: Annotated[list[AnyStep], AfterValidator(in_order)] = Field(
        description="The steps, run in this order; their stages never decrease.",
        max_length=MOST_STEPS,
        examples=[
            [{"technique": "prune.filters", "macs": 0.5}, {"technique": "recover"}, {"technique": "quantize.int8"}]
        ],
    )


def parse_steps(raw: Any) -> list[Step]:
    """Steps from plain data; raises RecipeInvalid with the pointer to every wrong field."""
    if not isinstance(raw, list):
        raise RecipeInvalid(f"`recipe` must be a list of steps, not {type(raw).__name__}")
    if len(raw) > MOST_STEPS:
        raise RecipeInvalid(f"a recipe has at most {MOST_STEPS} steps, not {len(raw)}")
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
    except OutOfOrder as error:
        place = f"/recipe/{(error.context or {})['index']}"
        order = FieldProblem(pointer=place, code=error.type, detail=error.message())
        raise RecipeInvalid(error.message(), errors=[order]) from None
    return steps


class _Loader(yaml.SafeLoader):
    """PyYAML's safe one, for which `1e-4` is a number, as in YAML 1.2, rather than text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_yaml(text: str) -> Any:
    """Plain data; raises yaml.YAMLError."""
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader


def _document(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    except RecursionError:
        raise RecipeInvalid("not YAML or JSON that can be read: nested too deeply") from None
    try:
        return read_yaml(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeInvalid(f"not YAML or JSON: {error}") from None


def read_recipe(text: str) -> list[Step]:
    """Steps of a YAML or JSON document `recipe: [...]`, or of a bare list."""
    raw = _document(text)
    if isinstance(raw, dict):
        unknown = sorted(str(key) for key in raw if key != "recipe")
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
