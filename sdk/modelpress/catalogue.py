"""The catalogue: what a step's class says of its technique."""

import inspect

from modelpress.resources import Technique
from modelpress.steps import LayerStep, Step, name_of


def technique_info(cls: type[Step]) -> Technique:
    """The technique of a step's class: its summary, where it may stand, and the JSON Schema of its fields."""
    return Technique(
        name=name_of(cls),
        family=cls.family,
        stage=cls.stage.name.lower() if cls.stage is not None else None,
        summary=inspect.cleandoc(cls.__doc__ or ""),
        kinds=list(cls.kinds) if issubclass(cls, LayerStep) else [],
        schema=cls.model_json_schema(),
    )
