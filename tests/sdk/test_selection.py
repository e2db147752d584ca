import pytest

from modelpress.inspection import Inspection, LayerInfo, TensorInfo
from modelpress.problem import RecipeInvalid, RequestInvalid
from modelpress.recipe import parse_steps
from modelpress.selection import check_recipe, check_task, matches, select_layers
from modelpress.steps import Layers
from modelpress.task import Classification


def layer(name: str, type: str = "Conv", channels: int = 8) -> LayerInfo:
    return LayerInfo(
        name=name,
        type=type,
        weight_shape=[channels, 4],
        parameters=channels * 4,
        macs=None,
        bytes=0,
        output_shape=None,
        out_channels=channels,
    )


LAYERS = [
    layer("stem"),
    layer("block.conv1"),
    layer("block.conv2"),
    layer("fc/a", "Gemm"),
    layer("fc/b", "Gemm"),
    layer("head", "Gemm", 4),
]
MODEL = Inspection(inputs=[], outputs=[], operators={}, parameters=0, macs=None, bytes=0, layers=LAYERS)
KINDS = ("Conv", "Gemm")


@pytest.mark.parametrize(
    "chosen, names",
    [
        ({}, ["stem", "block.conv1", "block.conv2", "fc/a", "fc/b", "head"]),
        ({"names": ["block.*"]}, ["block.conv1", "block.conv2"]),
        ({"names": ["head", "stem"]}, ["stem", "head"]),
        ({"names": ["*.conv[2-9]"]}, ["block.conv2"]),
        ({"types": ["Gemm"]}, ["fc/a", "fc/b", "head"]),
        ({"positions": [0, -1]}, ["stem", "head"]),
        ({"positions": [0, 3], "types": ["Gemm"]}, ["fc/a"]),
        ({"skip": ["block.*", "head"]}, ["stem", "fc/a", "fc/b"]),
        ({"names": ["fc"]}, ["fc/a", "fc/b"]),
        ({"names": ["fc/a"]}, ["fc/a"]),
        ({"skip": ["fc"], "types": ["Gemm"]}, ["head"]),
    ],
)
def test_layers_are_chosen_by_name_type_position_and_exception(chosen: dict, names: list[str]):
    assert [found.name for found in select_layers(Layers(**chosen), LAYERS, KINDS)] == names


def test_layers_of_other_kinds_are_passed_over():
    assert [found.name for found in select_layers(Layers(), LAYERS, ("Gemm",))] == ["fc/a", "fc/b", "head"]


@pytest.mark.parametrize(
    "name, pattern, is_match",
    [
        ("fc/a", "fc", True),
        ("fc/a/b", "fc/a", True),
        ("fca", "fc", False),
        ("fc", "fc/a", False),
        ("/body/conv", "/body", True),
        ("/body", "", False),
        ("Conv", "conv", False),
    ],
)
def test_parts_answer_to_the_name_of_the_whole(name: str, pattern: str, is_match: bool):
    assert matches(name, pattern) == is_match


@pytest.mark.parametrize(
    "step, pointer, code, said",
    [
        ({"layers": "block.conv3"}, "/recipe/0/layers/names/0", "unknown_layer", "block.conv2"),
        ({"layers": ["stem", "zzz"]}, "/recipe/0/layers/names/1", "unknown_layer", "stem"),
        ({"layers": {"skip": ["nope"]}}, "/recipe/0/layers/skip/0", "unknown_layer", "nope"),
        ({"layers": {"positions": [1, 6]}}, "/recipe/0/layers/positions/1", "unknown_layer", "has 6"),
        ({"layers": {"positions": [-7]}}, "/recipe/0/layers/positions/0", "unknown_layer", "-7"),
        ({"layers": {"types": ["LSTM"]}}, "/recipe/0/layers", "no_layer", "type LSTM"),
        ({"layers": "head", "ratio": 0.9, "scope": "layer"}, "/recipe/0/ratio", "layer_emptied", "0.75"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_with_the_path_and_a_way_out(
    step: dict, pointer: str, code: str, said: str
):
    with pytest.raises(RecipeInvalid) as refused:
        check_recipe(parse_steps([{"technique": "prune.filters", **step}]), MODEL)
    [error] = refused.value.errors
    assert (error.pointer, error.code) == (pointer, code)
    assert said in error.detail


def test_a_recipe_that_fits_passes():
    check_recipe(parse_steps([{"technique": "prune.filters", "layers": "block.*"}, {"technique": "recover"}]), MODEL)


def test_parts_that_a_step_will_make_may_be_named_before_they_are_there():
    steps = [{"technique": "lowrank.svd", "layers": "head"}, {"technique": "lowrank.svd", "layers": "head/first"}]
    check_recipe(parse_steps(steps), MODEL)


def test_parts_that_no_step_makes_are_unknown():
    with pytest.raises(RecipeInvalid, match="head/first"):
        check_recipe(
            parse_steps([{"technique": "recover"}, {"technique": "lowrank.svd", "layers": "head/first"}]), MODEL
        )


def test_a_layer_that_can_not_be_cut_is_not_emptied_either():
    locked = MODEL.model_copy(
        update={"layers": [layer("stem"), layer("head", channels=4).model_copy(update={"prunable": 0})]}
    )
    check_recipe(parse_steps([{"technique": "prune.filters", "ratio": 0.8, "scope": "layer"}]), locked)


def analysed(name: str, channels: int, prunable: int, locked: str | None = None) -> LayerInfo:
    return layer(name, channels=channels).model_copy(update={"prunable": prunable, "locked": locked})


CUTTABLE = MODEL.model_copy(
    update={"layers": [analysed("a", 8, 8), analysed("b", 12, 12), analysed("head", 1, 0, "it is an output")]}
)


@pytest.mark.parametrize(
    "step, pointer, code, said",
    [
        ({"layers": "head"}, "/recipe/0/layers", "locked", "it is an output"),
        ({"ratio": 0.91}, "/recipe/0/ratio", "layer_emptied", "at most 0.9"),
        ({"ratio": 0.999}, "/recipe/0/ratio", "layer_emptied", "the 2 chosen layers have 20 channels"),
    ],
)
def test_filters_that_can_not_go_are_not_asked_for(step: dict, pointer: str, code: str, said: str):
    with pytest.raises(RecipeInvalid) as refused:
        check_recipe(parse_steps([{"technique": "prune.filters", **step}]), CUTTABLE)
    [error] = refused.value.errors
    assert (error.pointer, error.code) == (pointer, code)
    assert said in error.detail


@pytest.mark.parametrize(
    "step", [{"ratio": 0.9}, {"layers": "head", "on_failure": "skip"}, {"layers": ["a", "head"], "ratio": 0.5}]
)
def test_filters_that_can_go_may_be_asked_for(step: dict):
    check_recipe(parse_steps([{"technique": "prune.filters", **step}]), CUTTABLE)


def test_a_step_that_may_be_skipped_needs_no_layer():
    step = {"technique": "prune.filters", "layers": {"types": ["LSTM"]}, "on_failure": "skip"}
    check_recipe(parse_steps([step]), MODEL)


def test_a_task_judges_an_output_that_is_there():
    model = MODEL.model_copy(update={"outputs": [TensorInfo(name="scores", type="float32", shape=["N", 10])]})
    for output in (None, "scores"):
        check_task(Classification(output=output), model)
    with pytest.raises(RequestInvalid, match="scores") as refused:
        check_task(Classification(output="score"), model)
    assert [error.pointer for error in refused.value.errors] == ["/task/output"]


def test_what_follows_a_student_is_not_checked_against_the_teacher():
    steps = [{"technique": "distill.student"}, {"technique": "quantize.int8", "layers": "its_own"}]
    check_recipe(parse_steps(steps), MODEL)
