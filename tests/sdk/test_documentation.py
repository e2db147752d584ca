"""The schema is the documentation: every field that a user may set says what it means."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Literal, get_args, get_origin

import pytest
from pydantic.fields import FieldInfo

import modelpress
from modelpress.base import Request
from modelpress.catalogue import technique_info
from modelpress.recipe import Recipe
from modelpress.resources import JobRequest
from modelpress.steps import ALL, name_of

CONTRACT = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(modelpress.__path__, "modelpress.")
    if module.name.split(".")[1] not in {"client", "cli", "export"}
]


def requests(root: type[Request] = Request) -> Iterator[type[Request]]:
    for cls in root.__subclasses__():
        yield cls
        yield from requests(cls)


def is_tag(info: FieldInfo) -> bool:
    """A field with one possible value: the class's own docstring speaks for it."""
    return get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1


EVERY_FIELD = [
    pytest.param(info, id=f"{cls.__name__}.{name}")
    for cls in dict.fromkeys(requests())
    for name, info in cls.model_fields.items()
    if not is_tag(info) and name != "technique"
]


@pytest.mark.parametrize("info", EVERY_FIELD)
def test_every_field_is_described(info: FieldInfo):
    assert info.description


@pytest.mark.parametrize("cls", list(dict.fromkeys(requests())), ids=lambda cls: cls.__name__)
def test_every_request_is_described(cls: type[Request]):
    assert cls.__doc__


@pytest.mark.parametrize("cls", ALL, ids=name_of)
def test_the_catalogue_gives_each_field_its_meaning_and_bounds(cls):
    info = technique_info(cls)
    fields = {name: schema for name, schema in info.schema_["properties"].items() if name != "technique"}
    assert info.summary
    assert all(schema.get("description") for schema in fields.values())
    assert info.schema_["additionalProperties"] is False


def test_the_schema_of_a_recipe_tells_the_steps_apart_by_technique_and_has_an_example():
    schema = Recipe.model_json_schema()
    steps = schema["properties"]["recipe"]
    assert set(steps["items"]["discriminator"]["mapping"]) == {name_of(cls) for cls in ALL}
    assert Recipe.model_validate({"recipe": steps["examples"][0]})


def test_the_examples_of_a_job_request_are_valid():
    for recipe in JobRequest.model_json_schema()["properties"]["recipe"]["examples"]:
        assert JobRequest.model_validate({"model_id": "mdl_1", "recipe": recipe})
