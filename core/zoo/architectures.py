"""The zoo's architectures. Each returns the name of its logits; `width` scales every hidden layer.

Parameter counts at full width, tested: LeNet-300-100 266,610; LeNet-5 431,080; CIFAR ResNet-20/32/44/56/110
269,722 / 464,154 / 658,586 / 853,018 / 1,727,962; VGG-16-BN 14,987,722.
"""

from collections.abc import Callable
from functools import partial

from core.zoo.builder import Builder

Architecture = Callable[[Builder, str, int, float], str]

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def scaled(channels: int, width: float) -> int:
    """Channels at a width; at least 1."""
    return max(1, round(channels * width))


def lenet_300_100(net: Builder, x: str, classes: int, width: float) -> str:
    """LeCun et al. 1998, "Gradient-based learning applied to document recognition", section III-C."""
    x = net.flatten(x, "flatten")
    for place, size in enumerate((300, 100), start=1):
        x = net.relu(net.linear(x, f"fc{place}", scaled(size, width)), f"relu{place}")
    return net.linear(x, "fc3", classes)


def lenet_5(net: Builder, x: str, classes: int, width: float) -> str:
    """LeCun et al. 1998, as Caffe has it (20-50-500), which is what the compression papers cut."""
    for place, size in enumerate((20, 50), start=1):
        x = net.max_pool(net.conv(x, f"conv{place}", scaled(size, width), 5, bias=True), f"pool{place}")
    x = net.relu(net.linear(net.flatten(x, "flatten"), "fc1", scaled(500, width)), "relu1")
    return net.linear(x, "fc2", classes)


def cifar_resnet(net: Builder, x: str, classes: int, width: float, *, depth: int) -> str:
    """He et al. 2016, arXiv:1512.03385, section 4.2: depth 6n + 2, shortcuts without weights (option A)."""
    x = net.relu(net.norm(net.conv(x, "conv1", scaled(16, width), 3, padding=1), "bn1"), "relu")
    for stage, channels in enumerate((16, 32, 64), start=1):
        for block in range((depth - 2) // 6):
            stride = 2 if stage > 1 and block == 0 else 1
            x = _basic_block(net, x, f"layer{stage}.{block}", scaled(channels, width), stride)
    return net.linear(net.average(x, "flatten"), "linear", classes)


def _basic_block(net: Builder, x: str, name: str, channels: int, stride: int) -> str:
    y = net.conv(x, f"{name}.conv1", channels, 3, stride=stride, padding=1)
    y = net.relu(net.norm(y, f"{name}.bn1"), f"{name}.relu1")
    y = net.norm(net.conv(y, f"{name}.conv2", channels, 3, padding=1), f"{name}.bn2")
    shortcut = net.subsample_and_pad(x, f"{name}.shortcut", channels) if stride > 1 else x
    return net.relu(net.add(y, shortcut, f"{name}.add"), f"{name}.relu2")


def vgg16_bn(net: Builder, x: str, classes: int, width: float) -> str:
    """Simonyan and Zisserman 2015, arXiv:1409.1556, for CIFAR as Li et al. 2017 have it, arXiv:1608.08710:
    batch normalisation after each convolution and a head of one hidden layer of 512."""
    for stage, sizes in enumerate(VGG16, start=1):
        for place, size in enumerate(sizes, start=1):
            name = f"block{stage}.{place}"
            x = net.conv(x, f"{name}.conv", scaled(size, width), 3, padding=1)
            x = net.relu(net.norm(x, f"{name}.bn"), f"{name}.relu")
        x = net.max_pool(x, f"block{stage}.pool")
    x = net.linear(net.flatten(x, "flatten"), "fc1", scaled(512, width))
    return net.linear(net.relu(net.norm(x, "fc1_bn"), "fc1_relu"), "fc2", classes)


ARCHITECTURES: dict[str, Architecture] = {
    "lenet_300_100": lenet_300_100,
    "lenet_5": lenet_5,
    **{f"resnet{depth}": partial(cifar_resnet, depth=depth) for depth in (20, 32, 44, 56, 110)},
    "vgg16_bn": vgg16_bn,
}
