"""Networks: read from ONNX, changed as torch graphs, written as ONNX."""

from core.network import ops
from core.network.layer import Layer
from core.network.network import Network

__all__ = ["Layer", "Network", "ops"]
