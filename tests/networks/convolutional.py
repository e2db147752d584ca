"""Plain, residual, dense and inception networks for images."""

import torch
from torch import Tensor, nn

from tests.networks.blocks import ConvNorm
from tests.networks.example import images, seeded


class Plain(nn.Module):
    """A VGG in small: convolutions, pooling, linear layers with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(16 * 8 * 8, 24), nn.ReLU(), nn.Linear(24, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + identity)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 8)
        self.layer1 = nn.Sequential(BasicBlock(8, 8, 1), BasicBlock(8, 8, 1))
        self.layer2 = nn.Sequential(BasicBlock(8, 16, 2), BasicBlock(16, 16, 1))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.avgpool(self.layer2(self.layer1(self.stem(x)))), 1))


class DenseLayer(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        bottleneck = self.conv1(torch.relu(self.norm1(torch.cat(features, 1))))
        return self.conv2(torch.relu(self.norm2(bottleneck)))


class DenseBlock(nn.ModuleList):
    def __init__(self, layers: int, inputs: int, growth: int) -> None:
        super().__init__(DenseLayer(inputs + number * growth, growth) for number in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self:
            features.append(layer(features))
        return torch.cat(features, 1)


class Dense(nn.Module):
    """Two dense blocks with a transition between, and pooling over whatever is left."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.block1 = DenseBlock(3, 8, 4)
        self.transition = nn.Sequential(nn.BatchNorm2d(20), nn.ReLU(), nn.Conv2d(20, 10, 1), nn.AvgPool2d(2))
        self.block2 = DenseBlock(2, 10, 4)
        self.norm = nn.BatchNorm2d(18)
        self.classifier = nn.Linear(18, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block2(self.transition(self.block1(self.stem(x))))
        return self.classifier(nn.functional.adaptive_avg_pool2d(torch.relu(self.norm(x)), 1).flatten(1))


class Inception(nn.Module):
    """GoogLeNet's module: four branches side by side."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch1 = ConvNorm(inputs, 4, 1)
        self.branch2 = nn.Sequential(ConvNorm(inputs, 4, 1), ConvNorm(4, 8, 3))
        self.branch3 = nn.Sequential(ConvNorm(inputs, 2, 1), ConvNorm(2, 4, 5))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), ConvNorm(inputs, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class UNet(nn.Module):
    """Skips by concatenation; one way up transposed, the other interpolated."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = ConvNorm(1, 8), ConvNorm(8, 12)
        self.bottom = ConvNorm(12, 16)
        self.up2, self.join2 = nn.ConvTranspose2d(16, 12, 2, stride=2), ConvNorm(24, 12)
        self.up1, self.join1 = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), ConvNorm(20, 8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        high = self.down1(x)
        middle = self.down2(nn.functional.max_pool2d(high, 2))
        low = self.bottom(nn.functional.max_pool2d(middle, 2))
        middle = self.join2(torch.cat([self.up2(low), middle], dim=1))
        return self.head(self.join1(torch.cat([self.up1(middle), high], dim=1)))


@seeded
def plain():
    return Plain(), {"x": images()}


@seeded
def resnet():
    return Residual(), {"x": images()}


@seeded
def densenet():
    return Dense(), {"x": images(16)}


@seeded
def inception():
    body = nn.Sequential(ConvNorm(3, 8, 3, 2), Inception(8), Inception(20))
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 10)), {"input": images(16)}


@seeded
def unet():
    return UNet(), {"x": images(16, channels=1)}
