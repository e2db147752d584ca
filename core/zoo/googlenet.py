"""Szegedy et al. 2015, "Going deeper with convolutions", arXiv:1409.4842, table 1, without auxiliary classifiers."""

from core.zoo.blocks import conv_norm_relu, conv_relu
from core.zoo.builder import Builder
from core.zoo.scale import Scale

Sizes = tuple[int, int, int, int, int, int]

STAGES: dict[int, tuple[Sizes, ...]] = {
    3: ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    4: (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    5: ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
}
"""Per module: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; projection behind the pooling."""


def googlenet(net: Builder, x: str, classes: int, scale: Scale, *, batch_norm: bool = False) -> str:
    """6,998,552 parameters, as in Caffe's `bvlc_googlenet` (table 1 prints them rounded, layer by layer, to about
    6.8M). With `batch_norm` as torchvision has it: a normalisation for each bias, none across channels, and 3 x 3
    where the paper has 5 x 5: 6,624,904 parameters. Names of both as in torchvision. Depth: modules of each stage."""
    model = _Inception(net, scale, batch_norm)
    x = net.max_pool(model.conv(x, "conv1", 64, 7, stride=2, padding=3), "maxpool1", 3)
    x = x if batch_norm else net.across_channels(x, "norm1")
    x = model.conv(model.conv(x, "conv2", 64, 1), "conv3", 192, 3, padding=1)
    x = net.max_pool(x if batch_norm else net.across_channels(x, "norm2"), "maxpool2", 3)
    for stage, modules in STAGES.items():
        for letter, sizes in zip("abcdefghijklmnopqrstuvwxyz", scale.blocks(modules), strict=False):
            x = model.module(x, f"inception{stage}{letter}", sizes)
        if stage == 3:
            x = net.max_pool(x, "maxpool3", 3)
        elif stage == 4:
            x = net.max_pool(x, "maxpool4", 2 if batch_norm else 3)
    return net.linear(net.average(x, "flatten"), "fc", classes)


class _Inception:
    def __init__(self, net: Builder, scale: Scale, batch_norm: bool) -> None:
        self._net, self._scale, self._batch_norm = net, scale, batch_norm

    def conv(self, x: str, name: str, size: int, kernel: int, *, stride: int = 1, padding: int = 0) -> str:
        out, options = self._scale.channels(size), {"stride": stride, "padding": padding}
        if not self._batch_norm:
            return conv_relu(self._net, x, f"{name}.conv", out, kernel, **options)
        return conv_norm_relu(self._net, x, f"{name}.conv", f"{name}.bn", out, kernel, epsilon=1e-3, **options)

    def module(self, x: str, name: str, sizes: Sizes) -> str:
        one, reduce3, three, reduce5, five, projected = sizes
        large = 3 if self._batch_norm else 5
        pooled = self._net.max_pool(x, f"{name}.branch4.0", 3, 1, padding=1)
        second = self.conv(x, f"{name}.branch2.0", reduce3, 1)
        third = self.conv(x, f"{name}.branch3.0", reduce5, 1)
        branches = [
            self.conv(x, f"{name}.branch1", one, 1),
            self.conv(second, f"{name}.branch2.1", three, 3, padding=1),
            self.conv(third, f"{name}.branch3.1", five, large, padding=large // 2),
            self.conv(pooled, f"{name}.branch4.1", projected, 1),
        ]
        return self._net.concat(branches, f"{name}.concat")
