"""LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition"."""

from core.zoo.builder import Builder
from core.zoo.scale import Scale


def lenet_300_100(net: Builder, x: str, classes: int, scale: Scale) -> str:
    """Section III-C.1: two hidden layers, 266,610 parameters ("267K" in Han et al. 2015). Depth: hidden layers."""
    x = net.flatten(x, "flatten")
    hidden = scale.blocks((300, 100))
    for place, size in enumerate(hidden, start=1):
        x = net.relu(net.linear(x, f"fc{place}", scale.channels(size)), f"relu{place}")
    return net.linear(x, f"fc{len(hidden) + 1}", classes)


def lenet_5(net: Builder, x: str, classes: int, scale: Scale) -> str:
    """As Caffe has it (20-50-500), which is what the compression papers cut: 431,080 parameters ("431K" in Han et
    al. 2015). One layer a stage: there is no depth to scale."""
    if scale.depth != 1.0:
        raise ValueError("it has one layer a stage, so that there is no depth to scale")
    for place, size in enumerate((20, 50), start=1):
        x = net.max_pool(net.conv(x, f"conv{place}", scale.channels(size), 5, bias=True), f"pool{place}")
    x = net.relu(net.linear(net.flatten(x, "flatten"), "fc1", scale.channels(500)), "relu1")
    return net.linear(x, "fc2", classes)
