"""Every step class, by what the classes say of themselves."""

from collections.abc import Iterator
from typing import Annotated, Any

import annotated_types as limits
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from modelpress.problem import RecipeInvalid
from modelpress.recipe import parse_steps, read_recipe, write_recipe
from modelpress.steps import ALL, Layers, LayerStep, Stage, Step, name_of

every_step = pytest.mark.parametrize("cls", ALL, ids=name_of)


@every_step
def test_defaults_are_valid_and_survive_json(cls: type[Step]):
    step = cls.model_validate({})
    assert cls.model_validate_json(step.model_dump_json()) == step


@every_step
def test_says_what_it_does_where_it_stands_and_what_it_works_on(cls: type[Step]):
    assert cls.__doc__
    assert cls.family
    assert cls.stage is None or cls.stage in Stage
    assert not issubclass(cls, LayerStep) or cls.kinds


@every_step
def test_its_schema_has_an_example_that_is_valid_and_a_word_on_every_field(cls: type[Step]):
    schema = cls.model_json_schema()
    [example] = schema["examples"]
    assert parse_steps([example]) == [cls.model_validate({})]
    assert all("description" in field for field in schema["properties"].values())


@every_step
def test_an_unknown_field_is_refused_with_its_path(cls: type[Step]):
    with pytest.raises(RecipeInvalid) as refused:
        parse_steps([{"technique": name_of(cls), "no_such": 1}])
    assert [error.pointer for error in refused.value.errors] == ["/recipe/0/no_such"]
    assert "no_such" in refused.value.detail


def beyond_the_limits() -> Iterator[Any]:
    """Each bound of each field of each step, with a value just outside."""
    for cls in ALL:
        for field, info in cls.model_fields.items():
            for bound in info.metadata:
                for kind, outside in ((limits.Ge, -1e-3), (limits.Gt, 0.0), (limits.Le, 1e-3), (limits.Lt, 0.0)):
                    if isinstance(bound, kind):
                        edge = getattr(bound, kind.__name__.lower())
                        value = edge + (round(outside * 1e3) if info.annotation is int else outside)
                        yield pytest.param(cls, field, value, id=f"{name_of(cls)}.{field}={value:g}")


@pytest.mark.parametrize("cls, field, value", list(beyond_the_limits()))
def test_a_value_out_of_range_is_refused_with_its_path_and_what_came(cls: type[Step], field: str, value: float):
    with pytest.raises(RecipeInvalid) as refused:
        parse_steps([{"technique": "recover"}, {"technique": name_of(cls), field: value}])
    assert [error.pointer for error in refused.value.errors] == [f"/recipe/1/{field}"]
    assert str(value) in refused.value.detail


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(value: float):
    with pytest.raises(RecipeInvalid):
        parse_steps([{"technique": "recover", "learning_rate": value}])


def values_of(info: FieldInfo) -> st.SearchStrategy[Any]:
    """Legal values by the field's own type and bounds."""
    if info.annotation is Layers:
        names = st.lists(st.text("abc*?/.0", min_size=1, max_size=8), min_size=1, max_size=3)
        return st.builds(Layers, names=names, positions=st.lists(st.integers(-5, 5), max_size=3))
    bounds = tuple(bound for bound in info.metadata if isinstance(bound, limits.BaseMetadata))
    kind: Any = Annotated[(info.annotation, *bounds)] if bounds and info.annotation in (int, float) else info.annotation
    if bounds and kind == float | None:
        kind = Annotated[(float, *bounds)]
    return st.from_type(kind)


@st.composite
def any_step(draw: st.DrawFn) -> Step:
    """A legal step: what the class refuses as a whole (two amounts at once) is drawn again."""
    cls = draw(st.sampled_from(ALL))
    fields = {field: draw(values_of(info)) for field, info in cls.model_fields.items()}
    try:
        return cls.model_validate(fields)
    except ValidationError:
        assume(False)
        raise


@given(any_step())
def test_any_legal_step_survives_json(step: Step):
    assert parse_steps([step.model_dump(mode="json")]) == [step]


@given(st.lists(any_step(), max_size=4))
def test_a_written_recipe_reads_as_the_same_steps(steps: list[Step]):
    steps.sort(key=lambda step: -1 if step.stage is None else step.stage)
    assume(sum(step.technique == "quantize.int8" for step in steps) <= 1)
    assert read_recipe(write_recipe(steps)) == steps


@given(any_step())
def test_a_step_has_exactly_one_amount_where_it_has_any(step: Step):
    amounts = [name for name in ("energy", "ratio", "macs") if name in type(step).model_fields]
    given_amounts = [name for name in amounts if getattr(step, name) is not None]
    assert len(given_amounts) == (1 if amounts else 0)


@pytest.mark.parametrize("amounts", [{"ratio": 0.5, "macs": 0.5}, {"ratio": 0.1, "energy": 0.5}])
def test_two_amounts_are_refused_by_name(amounts: dict[str, float]):
    with pytest.raises(RecipeInvalid) as refused:
        parse_steps([{"technique": "lowrank.svd", **amounts}])
    assert all(name in refused.value.detail for name in amounts)


@pytest.mark.parametrize("said, names", [("conv*", ["conv*"]), (["a", "b"], ["a", "b"]), ({"names": ["x"]}, ["x"])])
def test_layers_may_be_given_as_a_pattern_or_a_list_of_them(said: Any, names: list[str]):
    [step] = parse_steps([{"technique": "prune.filters", "layers": said}])
    assert isinstance(step, LayerStep)
    assert step.layers.names == names
