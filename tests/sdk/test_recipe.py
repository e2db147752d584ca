import json
from itertools import pairwise

import pytest

from modelpress.problem import RecipeInvalid
from modelpress.recipe import MOST_STEPS, load_recipe, read_recipe, write_recipe
from modelpress.steps import ALL, FilterPruning, Int8Quantization, Recover, name_of

YAML = """
# a comment
recipe:
  - {technique: prune.filters, macs: 0.5}
  - technique: recover
    epochs: 2
"""
STEPS = [FilterPruning(macs=0.5), Recover(epochs=2)]


@pytest.mark.parametrize(
    "text",
    [
        YAML,
        json.dumps({"recipe": [{"technique": "prune.filters", "macs": 0.5}, {"technique": "recover", "epochs": 2}]}),
        '[{"technique": "prune.filters", "macs": 0.5}, {"technique": "recover", "epochs": 2}]',
        "- {technique: prune.filters, macs: 0.5}\n- {technique: recover, epochs: 2}",
    ],
    ids=["yaml", "json", "bare json", "bare yaml"],
)
def test_yaml_and_json_read_alike(text: str):
    assert read_recipe(text) == STEPS


def test_an_empty_recipe_is_legal():
    assert read_recipe("recipe: []") == []


def test_a_written_recipe_shows_every_default():
    written = write_recipe([Int8Quantization()])
    assert all(f"{field}:" in written for field in Int8Quantization.model_fields)


@pytest.mark.parametrize(
    "text, said",
    [
        ("recipe: {a: 1}", "list"),
        ("steps: []", "steps"),
        ("recipe: []\nname: x", "name"),
        ("just words", "list"),
        ("", "list"),
        ("{broken", "JSON"),
        ("a: [b", "YAML"),
        ("[" * 100_000, "JSON"),
        ("recipe: [3]", "/recipe/0"),
        ("recipe: [{}]", "/recipe/0/technique"),
        ("recipe: [{technique: prune.filter}]", "prune.filters"),
        (json.dumps([{"technique": "recover"}] * (MOST_STEPS + 1)), str(MOST_STEPS)),
    ],
)
def test_what_is_no_recipe_is_refused_and_told_why(text: str, said: str):
    with pytest.raises(RecipeInvalid, match=said):
        read_recipe(text)


def test_yaml_makes_no_objects():
    with pytest.raises(RecipeInvalid):
        read_recipe("recipe: [!!python/object/apply:os.system ['true']]")


STAGED = sorted((cls for cls in ALL if cls.stage is not None), key=lambda cls: cls.stage or 0)


@pytest.mark.parametrize(
    "early, late",
    [(a, b) for a, b in pairwise(STAGED) if a.stage != b.stage],
    ids=lambda cls: name_of(cls),
)
def test_a_step_of_an_earlier_stage_after_a_later_one_is_refused_with_the_reason(early, late):
    right = [{"technique": name_of(early)}, {"technique": "recover"}, {"technique": name_of(late)}]
    assert len(read_recipe(json.dumps(right))) == 3
    with pytest.raises(RecipeInvalid) as refused:
        read_recipe(json.dumps(right[::-1]))
    assert name_of(early) in refused.value.detail
    assert name_of(late) in refused.value.detail
    assert refused.value.errors[0].pointer == "/recipe/2"


def test_every_wrong_step_is_named_at_once():
    with pytest.raises(RecipeInvalid) as refused:
        read_recipe("[{technique: recover, epochs: -1}, {technique: recover}, {technique: recover, patience: 0}]")
    assert [error.pointer for error in refused.value.errors] == ["/recipe/0/epochs", "/recipe/2/patience"]


def test_a_recipe_file_that_is_missing_is_an_oserror(tmp_path):
    with pytest.raises(OSError):
        load_recipe(tmp_path / "none.yaml")


def test_yaml_numbers_may_have_an_exponent_and_text_is_no_number():
    [step] = read_recipe("- {technique: recover, learning_rate: 1e-4}")
    assert step.model_dump()["learning_rate"] == 1e-4
    with pytest.raises(RecipeInvalid, match="learning_rate"):
        read_recipe("- {technique: recover, learning_rate: '1e-4'}")


def test_a_second_quantisation_is_refused_unless_the_first_may_be_skipped():
    first, second = {"technique": "quantize.int8"}, {"technique": "quantize.int8", "calibration": "minmax"}
    with pytest.raises(RecipeInvalid, match="already quantised by step 0") as failure:
        read_recipe(json.dumps([first, second]))
    assert failure.value.errors[0].pointer == "/recipe/1"
    assert len(read_recipe(json.dumps([{**first, "on_failure": "skip"}, second]))) == 2
