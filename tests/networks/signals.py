"""Sound, and images out of noise."""

import torch
from torch import Tensor, nn

from tests.networks.blocks import ConvNorm
from tests.networks.example import seeded


class AudioNet(nn.Module):
    """M5 on raw audio: one-dimensional convolutions, pooled over time."""

    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(1, 8, kernel_size=16, stride=4), nn.BatchNorm1d(8)
        self.conv2, self.bn2 = nn.Conv1d(8, 12, kernel_size=3), nn.BatchNorm1d(12)
        self.pool, self.fc1 = nn.MaxPool1d(2), nn.Linear(12, classes)

    def forward(self, waveform: Tensor) -> Tensor:
        x = self.pool(nn.functional.relu(self.bn1(self.conv1(waveform))))
        x = self.pool(nn.functional.relu(self.bn2(self.conv2(x))))
        x = nn.functional.avg_pool1d(x, x.shape[-1]).permute(0, 2, 1)
        return nn.functional.log_softmax(self.fc1(x), dim=2)


class GatedBlock(nn.Module):
    """WaveNet's: dilated, half of the channels gate the other half, a residual and a skip path."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilated = nn.Conv1d(width, 2 * width, 3, padding=dilation, dilation=dilation)
        self.residual, self.skip = nn.Conv1d(width, width, 1), nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        filtered, gate = self.dilated(x).chunk(2, dim=1)
        out = torch.tanh(filtered) * torch.sigmoid(gate)
        return x + self.residual(out), self.skip(out)


class WaveNet(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.start = nn.Conv1d(1, width, 1)
        self.blocks = nn.ModuleList(GatedBlock(width, 2**number) for number in range(3))
        self.end = nn.Conv1d(width, 4, 1)

    def forward(self, waveform: Tensor) -> Tensor:
        x, skips = self.start(waveform), []
        for block in self.blocks:
            x, skip = block(x)
            skips.append(skip)
        return self.end(torch.relu(torch.stack(skips).sum(0)))


class Generator(nn.Module):
    """DCGAN's."""

    def __init__(self, noise: int = 16, width: int = 8) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(noise, 2 * width, 4, 1, 0, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(True),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.main(z)


class SuperResolution(nn.Module):
    """Group and instance norms, a learned slope, and a pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.slope = nn.Conv2d(1, 8, 5, padding=2), nn.PReLU(8)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.Mish())
        self.norm = nn.InstanceNorm2d(8, affine=True)
        self.tail, self.shuffle = ConvNorm(8, 4, 3, activation=None), nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.slope(self.head(x))
        return self.shuffle(self.tail(self.norm(x + self.body(x)))).clamp(0, 1)


@seeded
def audio():
    return AudioNet(), {"waveform": torch.randn(2, 1, 256)}


@seeded
def wavenet():
    return WaveNet(), {"waveform": torch.randn(2, 1, 40)}


@seeded
def generator():
    return Generator(), {"z": torch.randn(2, 16, 1, 1)}


@seeded
def super_resolution():
    return SuperResolution(), {"x": torch.randn(2, 1, 8, 8)}
