"""He, Zhang, Ren and Sun 2016, "Deep residual learning", arXiv:1512.03385. Depth: blocks of each stage."""

from core.zoo.blocks import conv_norm, conv_norm_relu
from core.zoo.builder import Builder
from core.zoo.scale import Scale

WIDTHS = (64, 128, 256, 512)
EXPANSION = 4


def cifar_resnet(net: Builder, x: str, classes: int, scale: Scale, *, layers: int) -> str:
    """Section 4.2: 6n + 2 layers, shortcuts without weights (option A): 269,722 parameters with 20, 464,154 with 32,
    658,586 with 44, 853,018 with 56 and 1,727,962 with 110 layers ("0.27M", "0.46M", "0.66M", "0.85M", "1.7M" in
    table 6)."""
    x = conv_norm_relu(net, x, "conv1", "bn1", scale.channels(16), 3, padding=1)
    for stage, size in enumerate((16, 32, 64), start=1):
        for block, channels in enumerate(scale.blocks((scale.channels(size),) * ((layers - 2) // 6))):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = _basic(net, x, name, channels, stride)
            shortcut = net.subsample_and_pad(x, f"{name}.shortcut", channels) if stride > 1 else x
            x = net.relu(net.add(y, shortcut, f"{name}.add"), f"{name}.relu2")
    return net.linear(net.average(x, "flatten"), "linear", classes)


def resnet(
    net: Builder, x: str, classes: int, scale: Scale, *, blocks: tuple[int, int, int, int], bottleneck: bool
) -> str:
    """For ImageNet, table 1: 11,689,512 parameters with 18 layers, 21,797,672 with 34, 25,557,032 with 50 and
    44,549,160 with 101 (the paper prints operations alone). Names, and the stride in a bottleneck's 3 x 3 convolution
    rather than its first 1 x 1, as in torchvision: as many parameters, 4.09 billion operations where the paper's
    ResNet-50 has 3.8."""
    x = conv_norm_relu(net, x, "conv1", "bn1", scale.channels(WIDTHS[0]), 7, stride=2, padding=3)
    x = net.max_pool(x, "maxpool", 3, padding=1, ceil=False)
    for stage, (size, count) in enumerate(zip(WIDTHS, blocks, strict=True), start=1):
        for block, channels in enumerate(scale.blocks((scale.channels(size),) * count)):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = (_bottleneck if bottleneck else _basic)(net, x, name, channels, stride)
            x = net.relu(net.add(y, _shortcut(net, x, name, net.shapes[y][0], stride), f"{name}.add"), f"{name}.relu")
    return net.linear(net.average(x, "flatten"), "fc", classes)


def _basic(net: Builder, x: str, name: str, channels: int, stride: int) -> str:
    y = conv_norm_relu(net, x, f"{name}.conv1", f"{name}.bn1", channels, 3, stride=stride, padding=1)
    return conv_norm(net, y, f"{name}.conv2", f"{name}.bn2", channels, 3, padding=1)


def _bottleneck(net: Builder, x: str, name: str, channels: int, stride: int) -> str:
    y = conv_norm_relu(net, x, f"{name}.conv1", f"{name}.bn1", channels, 1)
    y = conv_norm_relu(net, y, f"{name}.conv2", f"{name}.bn2", channels, 3, stride=stride, padding=1)
    return conv_norm(net, y, f"{name}.conv3", f"{name}.bn3", EXPANSION * channels, 1)


def _shortcut(net: Builder, x: str, name: str, channels: int, stride: int) -> str:
    """Option B: weights where the block changes the shape."""
    if stride == 1 and net.shapes[x][0] == channels:
        return x
    return conv_norm(net, x, f"{name}.downsample.0", f"{name}.downsample.1", channels, 1, stride=stride)
