"""What the options of `run` and `submit` mean."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from modelpress.architecture import Architecture, architecture_of
from modelpress.data import DatasetFormat
from modelpress.data_format import guess_format, labels_are_classes
from modelpress.problem import RecipeInvalid, RequestInvalid
from modelpress.recipe import load_recipe, read_recipe, read_yaml
from modelpress.steps import Step
from modelpress.validation import parse_request

DEVICES = {"auto": ["cuda", "cpu"], "cpu": ["cpu"], "cuda": ["cuda"]}


def written_recipe(said: str) -> list[Step] | None:
    """The steps of a recipe given as JSON or as a file; None where `said` can only be a built-in recipe's name."""
    if said.lstrip().startswith(("{", "[")):
        return read_recipe(said)
    path = Path(said)
    if path.is_file():
        return load_recipe(path)
    if path.suffix in {".yaml", ".yml", ".json"} or path.name != said:
        raise RecipeInvalid(f"there is no recipe file {said}")
    return None


def built_in_recipe(name: str) -> list[Step]:
    """A recipe of `modelpress-server` by name; raises RecipeInvalid, naming those that there are."""
    there = {Path(file.name).stem: file for file in files("recipes").iterdir() if file.name.endswith(".yaml")}
    if name not in there:
        raise RecipeInvalid(
            f"{name!r} is neither a file nor a built-in recipe", hint=f"Built-in recipes: {', '.join(sorted(there))}."
        )
    return read_recipe(there[name].read_text("utf-8"))


def dataset_format(paths: Sequence[Path], said: dict[str, str | None]) -> DatasetFormat:
    """How these files are read, from the options `format`, `labels`, `input` and `preparation`."""
    return parse_request(
        DatasetFormat,
        {
            "format": said["format"] or guess_format(paths[0]),
            "labels": said["labels"],
            "input": said["input"],
            "preparation": preparation(said["preparation"]),
        },
    )


def preparation(said: str | None) -> Any:
    """Plain data from JSON, or from a file of JSON or YAML."""
    if said is None:
        return {}
    text = said if said.lstrip().startswith("{") else Path(said).read_text("utf-8")
    try:
        return read_yaml(text)  # JSON is YAML
    except yaml.YAMLError as error:
        raise RequestInvalid(f"the preparation is neither JSON nor YAML: {error}") from None


def architecture(name: str | None, input_shape: str | None) -> Architecture | None:
    """What `--architecture` (a name, or JSON) and `--input-shape` (sizes with commas) say of a checkpoint."""
    if name is None:
        if input_shape is not None:
            raise RequestInvalid("--input-shape is for a checkpoint: give its --architecture too")
        return None
    try:
        fields = read_yaml(name) if name.lstrip().startswith("{") else {"name": name}
    except yaml.YAMLError as error:
        raise RequestInvalid(f"the architecture is neither a name nor JSON: {error}") from None
    if input_shape is not None:
        sizes = input_shape.split(",")
        if not all(size.strip().isdecimal() for size in sizes):
            raise RequestInvalid(f"--input-shape is channels,height,width such as 3,32,32, not {input_shape!r}")
        fields = {**fields, "input_shape": [int(size) for size in sizes]}
    return architecture_of(fields)


def guess_task(format: DatasetFormat | None, first: Path | None) -> str:
    """What the labels say: classes, numbers, or none."""
    if format is None:
        return "match"
    if format.format != "npz":
        return "classification"
    if format.labels is None:
        return "match"
    return "classification" if first is None or labels_are_classes(first, format.labels) else "regression"


def request_fields(wish: dict[str, Any], task: str) -> dict[str, Any]:
    """The fields that `Job` and `JobRequest` share."""
    target = {key: wish[key] for key in ("objective", "max_drop") if wish[key] is not None}
    measuring = {"batch_sizes": wish["batch_sizes"]} if wish["batch_sizes"] else {}
    return {"task": {"type": task}, "target": target, "measuring": measuring, "seed": wish["seed"]}
