"""Networks made for phones: depthwise and grouped convolutions, channel shuffles, squeeze-and-excitation."""

import torch
from torch import Tensor, nn

from tests.networks.blocks import ConvNorm
from tests.networks.example import images, seeded


class InvertedResidual(nn.Module):
    """MobileNet v2's block."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        self.shortcut = stride == 1 and inputs == outputs
        layers: list[nn.Module] = [] if expand == 1 else [ConvNorm(inputs, hidden, 1, activation=nn.ReLU6)]
        layers.append(ConvNorm(hidden, hidden, 3, stride, groups=hidden, activation=nn.ReLU6))
        layers += [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvNorm(3, 8, 3, 2, activation=nn.ReLU6),
            InvertedResidual(8, 8, 1, 1),
            InvertedResidual(8, 12, 2, 3),
            InvertedResidual(12, 12, 1, 3),
            ConvNorm(12, 32, 1, activation=nn.ReLU6),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int, squeezed: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.activation, self.scale = activation(), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return self.scale(self.fc2(self.activation(self.fc1(self.avgpool(x))))) * x


class MBConv(nn.Module):
    """EfficientNet's block."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = 4 * inputs
        self.shortcut = stride == 1 and inputs == outputs
        self.block = nn.Sequential(
            ConvNorm(inputs, hidden, 1, activation=nn.SiLU),
            ConvNorm(hidden, hidden, kernel, stride, groups=hidden, activation=nn.SiLU),
            SqueezeExcitation(hidden, inputs // 4, nn.SiLU),
            ConvNorm(hidden, outputs, 1, activation=None),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.shortcut else self.block(x)


class LinearExcitation(nn.Module):
    """Squeeze-and-excitation as SENet wrote it: linear layers and a view."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // 4, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channels // 4, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, _, _ = x.size()
        scale = self.fc(nn.functional.adaptive_avg_pool2d(x, 1).view(batch, channels)).view(batch, channels, 1, 1)
        return x * scale.expand_as(x)


def shuffle(x: Tensor, groups: int) -> Tensor:
    batch, channels, height, width = x.size()
    x = x.view(batch, groups, channels // groups, height, width)
    return torch.transpose(x, 1, 2).contiguous().view(batch, channels, height, width)


class ShuffleV1Unit(nn.Module):
    """Grouped 1x1 convolutions with a shuffle between; with a stride, joined to the pooled input."""

    def __init__(self, inputs: int, outputs: int, groups: int, stride: int) -> None:
        super().__init__()
        hidden, added = outputs // 4, outputs - inputs if stride == 2 else outputs
        self.groups, self.stride = groups, stride
        self.reduce = ConvNorm(inputs, hidden, 1, groups=groups)
        self.spatial = ConvNorm(hidden, hidden, 3, stride, groups=hidden, activation=None)
        self.expand = ConvNorm(hidden, added, 1, groups=groups, activation=None)
        self.pool = nn.AvgPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.expand(self.spatial(shuffle(self.reduce(x), self.groups)))
        return torch.relu(torch.cat([self.pool(x), out], 1) if self.stride == 2 else x + out)


class ShuffleV2Unit(nn.Module):
    """One half passes, the other is worked on, then both are shuffled; with a stride both are worked on."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half, self.stride = outputs // 2, stride
        self.branch1 = nn.Identity()
        if stride == 2:
            depthwise = ConvNorm(inputs, inputs, 3, 2, groups=inputs, activation=None)
            self.branch1 = nn.Sequential(depthwise, ConvNorm(inputs, half, 1))
        self.branch2 = nn.Sequential(
            ConvNorm(inputs if stride == 2 else half, half, 1),
            ConvNorm(half, half, 3, stride, groups=half, activation=None),
            ConvNorm(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1) if self.stride == 1 else (x, x)
        return shuffle(torch.cat((self.branch1(left), self.branch2(right)), dim=1), 2)


class ResNeXtBlock(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, width, 1)
        self.conv2 = ConvNorm(width, width, 3, groups=groups)
        self.conv3 = ConvNorm(width, width, 1, activation=None)
        self.se = LinearExcitation(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.se(self.conv3(self.conv2(self.conv1(x)))))


def classifier(*body: nn.Module, width: int) -> nn.Module:
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


@seeded
def mobilenet_v2():
    return MobileNetV2(), {"x": images()}


@seeded
def efficientnet():
    stem = ConvNorm(3, 8, 3, 2, activation=nn.SiLU)
    return classifier(stem, MBConv(8, 8, 3, 1), MBConv(8, 12, 5, 2), width=12), {"input": images()}


@seeded
def shufflenet_v1():
    units = ShuffleV1Unit(12, 24, 3, 2), ShuffleV1Unit(24, 24, 3, 1), ShuffleV1Unit(24, 24, 3, 1)
    return classifier(ConvNorm(3, 12, 3, 2), *units, width=24), {"input": images()}


@seeded
def shufflenet_v2():
    units = ShuffleV2Unit(8, 16, 2), ShuffleV2Unit(16, 16, 1), ShuffleV2Unit(16, 16, 1)
    return classifier(ConvNorm(3, 8, 3, 2), *units, ConvNorm(16, 32, 1), width=32), {"input": images()}


@seeded
def resnext():
    return classifier(ConvNorm(3, 16, 3, 2), ResNeXtBlock(16, 4), ResNeXtBlock(16, 4), width=16), {"input": images()}
