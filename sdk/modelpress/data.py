"""Data sets: the files' format, how raw values become inputs, and who gets which samples."""

from itertools import combinations
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from modelpress.base import Request


class Preparation(Request):
    """What turns raw values (uint8 pixels, say) into the model's input, so that they stay raw on disk.

    In this order: resize, scale, subtract mean, divide by std, change layout, cast.
    """

    layout: Literal["as_is", "hwc_to_chw", "hw_to_chw", "chw_to_hwc"] = Field(
        default="as_is", description="How the axes of one sample change; `hw_to_chw` adds a channel axis."
    )
    scale: float | None = Field(default=None, gt=0.0, description="Multiply by this; 1/255 brings bytes to 0..1.")
    mean: list[float] = Field(
        default_factory=list, description="Subtract: one value, or one a channel.", max_length=4096
    )
    std: list[float] = Field(
        default_factory=list, description="Divide by: one value, or one a channel.", max_length=4096
    )
    resize: tuple[int, int] | None = Field(
        default=None, description="Height and width in pixels (bilinear), images only."
    )
    dtype: Literal["float32", "float16", "float64", "int64", "int32", "uint8", "int8", "bool"] | None = Field(
        default=None, description="Type of the input; left out means the model's own."
    )

    @model_validator(mode="after")
    def std_is_positive(self) -> Self:
        if any(value <= 0 for value in self.std):
            raise ValueError("`std` must be above 0 everywhere")
        return self


class DatasetFormat(Request):
    """How a data set's files are read."""

    format: Literal["npz", "images", "idx", "cifar"] = Field(
        description="`npz`: arrays named as the model's inputs. `images`: zip or tar, a folder a class. "
        "`idx`: MNIST's format, images then labels, gzipped or not. `cifar`: the CIFAR-10/100 binary format."
    )
    labels: str | None = Field(
        default=None,
        description="For `npz`: name of the array of labels. The other formats know their own.",
        max_length=200,
    )
    input: str | None = Field(
        default=None, description="The model's input that images feed; left out means its only one.", max_length=500
    )
    preparation: Preparation = Field(default_factory=Preparation, description="From raw values to the model's input.")


class Range(Request):
    """Samples from `start` up to, not including, `stop`, in the order of the data set."""

    start: int = Field(ge=0, description="Place of the first sample, from 0.")
    stop: int = Field(ge=1, description="Place after the last sample.")

    @model_validator(mode="after")
    def not_empty(self) -> Self:
        if self.stop <= self.start:
            raise ValueError(f"stop ({self.stop}) must be above start ({self.start})")
        return self


def _kind_of_share(value: Any) -> str:
    return "(range)" if isinstance(value, dict | Range) else "(fraction)"


Share = Annotated[
    Annotated[float, Field(ge=0.0, le=1.0), Tag("(fraction)")] | Annotated[Range, Tag("(range)")],
    Discriminator(_kind_of_share),
]


class Splits(Request):
    """Who gets which samples. Made (seeded, stratified by label) from fractions, or declared as ranges.

    With one data set, all three are cut from it. With a separate evaluation set, `train` is the whole first
    one and the evaluation set is cut into select and test in the ratio of their fractions.
    """

    train: Share = Field(default=0.6, description="For fitting.")
    select: Share = Field(default=0.2, description="For stop rules, the worth gate and choosing the best.")
    test: Share = Field(default=0.2, description="For the final figure, measured once; no step sees it.")
    calibrate: int = Field(default=512, ge=1, description="Most samples of `train` used for ranges and statistics.")

    @model_validator(mode="after")
    def fractions_fit(self) -> Self:
        parts = (self.train, self.select, self.test)
        ranges = [part for part in parts if isinstance(part, Range)]
        if ranges and len(ranges) != len(parts):
            raise ValueError("declare all of train, select and test as ranges, or none")
        self.refuse_overlap("select", "test")
        fractions = [part for part in parts if not isinstance(part, Range)]
        if fractions and sum(fractions) > 1.0 + 1e-9:
            raise ValueError(f"train + select + test is {sum(fractions):g}, more than 1")
        return self

    def refuse_overlap(self, *names: str) -> None:
        """Raise ValueError where two of these roles, cut from the same data set, declare the same samples."""
        parts = [(name, part) for name in names if isinstance(part := getattr(self, name), Range)]
        for (one, a), (other, b) in combinations(parts, 2):
            if a.start < b.stop and b.start < a.stop:
                raise ValueError(f"{one} ({a.start}:{a.stop}) and {other} ({b.start}:{b.stop}) overlap")


class Cut(Request):
    """What a job's data share, however it names its data sets: the roles cut from one set have no sample twice."""

    splits: Splits = Field(default_factory=Splits, description="Who gets which samples.")

    @model_validator(mode="after")
    def roles_are_apart(self) -> Self:
        if getattr(self, "eval", None) is None:
            self.splits.refuse_overlap("train", "select", "test")
        return self
