"""What may be asked: the techniques with their schemas, and the built-in recipes."""

from functools import cache
from importlib import resources as files

from fastapi import APIRouter, Response

from api.answers import Answer
from api.context import CallerDep
from modelpress import resources, steps
from modelpress.catalogue import technique_info
from modelpress.problem import FieldProblem, RecipeInvalid
from modelpress.recipe import read_recipe
from modelpress.steps import Step

router = APIRouter(prefix="/v1/techniques", tags=["techniques"])


@router.get("", response_model=resources.Catalogue)
def list_techniques(caller: CallerDep) -> Response:
    """Every technique with the JSON Schema of its step, and the built-in recipes."""
    built_in = [
        {"name": name, "summary": summary, "recipe": [step.model_dump(mode="json") for step in its_steps]}
        for name, (summary, its_steps) in sorted(built_in_recipes().items())
    ]
    return Answer(
        {
            "techniques": [technique_info(cls).model_dump(mode="json", by_alias=True) for cls in steps.ALL],
            "recipes": built_in,
        }
    )


@cache
def built_in_recipes() -> dict[str, tuple[str, list[Step]]]:
    """By name: what the recipe is for, which is the file's first comment, and its steps."""
    found = {}
    for file in files.files("recipes").iterdir():
        if file.name.endswith(".yaml"):
            text = file.read_text("utf-8")
            found[file.name.removesuffix(".yaml")] = (text.splitlines()[0].lstrip("# "), read_recipe(text))
    return found


def named_recipe(name: str) -> list[Step]:
    """Raises RecipeInvalid for a name that no built-in recipe has."""
    known = built_in_recipes()
    if name not in known:
        detail = f"there is no built-in recipe {name!r}; there are {', '.join(sorted(known))}"
        raise RecipeInvalid(detail, errors=[FieldProblem(pointer="/recipe", code="unknown_recipe", detail=detail)])
    return known[name][1]
