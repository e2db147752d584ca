"""Zagoruyko and Komodakis 2016, "Wide residual networks", arXiv:1605.07146."""

from core.zoo.builder import Builder
from core.zoo.scale import Scale


def wide_resnet(net: Builder, x: str, classes: int, scale: Scale, *, layers: int, widen: int) -> str:
    """Table 1: 6n + 4 layers, `widen` times as wide as a ResNet, normalisation before convolution: 36,479,194
    parameters for WRN-28-10 ("36.5M" in table 4) and 2,748,890 for WRN-16-4 ("2.7M" in Ullrich et al. 2017). Names
    as in the torch ports. Depth: blocks of each of the three stages."""
    x = net.conv(x, "conv1", scale.channels(16), 3, padding=1)
    for stage, size in enumerate((16, 32, 64), start=1):
        for block, channels in enumerate(scale.blocks((scale.channels(size * widen),) * ((layers - 4) // 6))):
            x = _block(net, x, f"block{stage}.layer.{block}", channels, 2 if stage > 1 and block == 0 else 1)
    x = net.relu(net.norm(x, "bn1"), "relu")
    return net.linear(net.average(x, "flatten"), "fc", classes)


def _block(net: Builder, x: str, name: str, channels: int, stride: int) -> str:
    before = net.relu(net.norm(x, f"{name}.bn1"), f"{name}.relu1")
    y = net.conv(before, f"{name}.conv1", channels, 3, stride=stride, padding=1)
    y = net.conv(net.relu(net.norm(y, f"{name}.bn2"), f"{name}.relu2"), f"{name}.conv2", channels, 3, padding=1)
    if stride > 1 or net.shapes[x][0] != channels:
        x = net.conv(before, f"{name}.convShortcut", channels, 1, stride=stride)
    return net.add(x, y, f"{name}.add")
