"""MobileNets: convolutions split into one per channel and one across channels."""

from itertools import count

from core.zoo.blocks import conv_norm, conv_norm_relu
from core.zoo.builder import Builder
from core.zoo.scale import Scale

V1 = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))
"""Per stage: channels, blocks, stride of the first."""
V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Per stage: expansion, channels, blocks, stride of the first."""


def mobilenet_v1(net: Builder, x: str, classes: int, scale: Scale) -> str:
    """Howard et al. 2017, arXiv:1704.04861, table 1: 4,231,976 parameters ("4.2 million" in table 4), 0.75, 0.5 and
    0.25 of the width 2.6, 1.3 and 0.5 million (table 6). Names as in the torch ports, one sequence called `model`.
    Depth: blocks of each image size."""
    x = conv_norm_relu(net, x, "model.0.0", "model.0.1", scale.channels(32), 3, stride=2, padding=1)
    places = count(1)
    for size, blocks, stride in V1:
        for block, out in enumerate(scale.blocks((scale.channels(size),) * blocks)):
            name, step, channels = f"model.{next(places)}", stride if block == 0 else 1, net.shapes[x][0]
            x = conv_norm_relu(net, x, f"{name}.0", f"{name}.1", channels, 3, stride=step, padding=1, groups=channels)
            x = conv_norm_relu(net, x, f"{name}.3", f"{name}.4", out, 1)
    return net.linear(net.average(x, "flatten"), "fc", classes)


def mobilenet_v2(net: Builder, x: str, classes: int, scale: Scale) -> str:
    """Sandler et al. 2018, arXiv:1801.04381, table 2: 3,504,872 parameters, 3,470,760 without those of batch
    normalisation ("3.4M" in table 4). Names as in torchvision. Width: rounded to multiples of 8, and the last
    convolution is never narrower than the paper's, as the paper (section 6.1) and torchvision have it. Depth: blocks
    of each row of table 2."""
    x = _conv6(net, x, "features.0", divisible(32 * scale.width), 3, stride=2)
    places = count(1)
    for expansion, size, blocks, stride in V2:
        for block, out in enumerate(scale.blocks((divisible(size * scale.width),) * blocks)):
            x = _inverted(net, x, f"features.{next(places)}.conv", out, expansion, stride if block == 0 else 1)
    x = _conv6(net, x, f"features.{next(places)}", divisible(1280 * max(1.0, scale.width)), 1)
    return net.linear(net.average(x, "flatten"), "classifier.1", classes)


def _inverted(net: Builder, x: str, name: str, out: int, expansion: int, stride: int) -> str:
    """Widen, filter each channel, narrow; the input is added where shapes allow."""
    hidden, places = expansion * net.shapes[x][0], count()
    y = _conv6(net, x, f"{name}.{next(places)}", hidden, 1) if expansion > 1 else x
    y = _conv6(net, y, f"{name}.{next(places)}", hidden, 3, stride=stride, groups=hidden)
    y = conv_norm(net, y, f"{name}.{next(places)}", f"{name}.{next(places)}", out, 1)
    return net.add(x, y, f"{name}.add") if stride == 1 and net.shapes[x][0] == out else y


def _conv6(net: Builder, x: str, name: str, out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> str:
    options = {"stride": stride, "padding": kernel // 2, "groups": groups}
    return net.relu6(conv_norm(net, x, f"{name}.0", f"{name}.1", out, kernel, **options), f"{name}.2")


def divisible(channels: float) -> int:
    """The nearest multiple of 8, at least 8, and not less than 0.9 of what was asked."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
