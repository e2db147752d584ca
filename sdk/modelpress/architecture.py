"""Which network of the zoo a checkpoint of bare weights belongs to."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from modelpress.base import Request
from modelpress.validation import parse_request
from modelpress.zoo import ZooName

ARCHITECTURE_FILE = "architecture.json"
"""What the file is called that lies beside a safetensors checkpoint and holds an `Architecture`."""


class Architecture(Request):
    """`architecture.json`: the network of the zoo whose weights a safetensors checkpoint holds.

    What is left out is read off the checkpoint; only how large images are is not in it, and then the paper's size is
    taken where it fits.
    """

    name: ZooName = Field(description="Name in the zoo.")
    classes: int | None = Field(default=None, ge=1, le=2**20, description="Outputs of the last layer.")
    input_shape: list[Annotated[int, Field(ge=1, le=2**16)]] | None = Field(
        default=None, min_length=1, max_length=8, description="One sample: channels, height, width."
    )
    width: float | None = Field(default=None, gt=0.0, le=16.0, description="Channels, as a fraction of the paper's.")
    depth: float | None = Field(
        default=None, gt=0.0, le=4.0, description="Blocks of each stage, as a fraction of the paper's."
    )

    def write(self, folder: Path) -> Path:
        """The file that lies beside the checkpoint."""
        path = folder / ARCHITECTURE_FILE
        path.write_text(self.model_dump_json(exclude_none=True), "utf-8")
        return path


def architecture_of(said: Any) -> Architecture | None:
    """From a name, a dict of an architecture's fields, or an `Architecture`; raises RequestInvalid."""
    if said is None or isinstance(said, Architecture):
        return said
    return parse_request(Architecture, {"name": said} if isinstance(said, str) else said)


@contextmanager
def architecture_files(architecture: Architecture | None) -> Iterator[list[Path]]:
    """The files that belong to a checkpoint besides itself; gone afterwards."""
    if architecture is None:
        yield []
        return
    with tempfile.TemporaryDirectory(prefix="modelpress-") as folder:
        yield [architecture.write(Path(folder))]
