"""Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", arXiv:1602.07360."""

from itertools import count

from core.zoo.blocks import conv_relu
from core.zoo.builder import Builder
from core.zoo.scale import Scale

STAGES = {
    "1_0": ((16, 16, 32), (32, 48, 48, 64), (64,)),
    "1_1": ((16, 16), (32, 32), (48, 48, 64, 64)),
}
"""Squeezed channels of the fire modules between poolings; each expands four times as many twice."""


def squeezenet(net: Builder, x: str, classes: int, scale: Scale, *, version: str) -> str:
    """1.0 is table 1: 1,248,424 parameters (printed there so). 1.1 is the authors' later one with 2.4 times fewer
    operations: 1,235,496. Names as in torchvision. Depth: fire modules between two poolings."""
    size, kernel = (96, 7) if version == "1_0" else (64, 3)
    x = conv_relu(net, x, "features.0", scale.channels(size), kernel, stride=2)
    places = count(2)  # behind the first convolution and its ReLU
    for squeezes in STAGES[version]:
        x = net.max_pool(x, f"features.{next(places)}", 3)
        for squeeze in scale.blocks(squeezes):
            x = _fire(net, x, f"features.{next(places)}", scale.channels(squeeze), scale.channels(4 * squeeze))
    return net.average(conv_relu(net, x, "classifier.1", classes, 1), "flatten")


def _fire(net: Builder, x: str, name: str, squeeze: int, expand: int) -> str:
    x = conv_relu(net, x, f"{name}.squeeze", squeeze, 1)
    one = conv_relu(net, x, f"{name}.expand1x1", expand, 1)
    three = conv_relu(net, x, f"{name}.expand3x3", expand, 3, padding=1)
    return net.concat([one, three], f"{name}.concat")
