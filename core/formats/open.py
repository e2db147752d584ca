"""Opens a model file of any format that is taken. Its content tells the format, never its name."""

from collections.abc import Callable
from pathlib import Path

from onnx import ModelProto

from core.formats.pt2 import is_archive, read_pt2
from core.formats.safetensors import is_safetensors, read_safetensors
from core.network.network import Network

HEAD_BYTES = 16
READERS: dict[Callable[[bytes], bool], Callable[[Path], tuple[ModelProto, list[str]]]] = {
    is_safetensors: read_safetensors,
    is_archive: read_pt2,
}
"""Whether a file that starts so is of a format; and the reader of that format, which gives the network as ONNX and
what a user should know of how it came about. What none of them knows is read as ONNX."""


def open_network(path: Path) -> Network:
    """Read a model file that may be hostile.

    Raises:
        ModelError: or a subclass that says what is wrong with it.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    for is_of_format, read in READERS.items():
        if is_of_format(head):
            model, notes = read(path)
            network = Network.from_proto(model)
            network.notes[:0] = notes
            return network
    return Network.from_onnx(path)
