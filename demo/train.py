"""A small CNN with batch norms, trained on scikit-learn's digits in seconds, exported to ONNX."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F

from modelpress.export import export_onnx

SCALE = 1 / 16
"""Pixels are 0 to 16 in the files and 0 to 1 in the network."""
EPOCHS = 12
BATCH = 64
HELD_OUT = 600


@dataclass(frozen=True)
class Trained:
    """Files of the demo."""

    model: Path
    train: Path
    held_out: Path


class DigitsNet(nn.Module):
    """(n, 1, 8, 8) to 10 classes; most parameters are in `fc1`, most arithmetic in `conv2`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.conv3 = nn.Conv2d(64, 64, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(64)
        self.fc1 = nn.Linear(64 * 4 * 4, 256)
        self.fc2 = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)  # (n, 64, 4, 4)
        x = F.relu(self.bn3(self.conv3(x)))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def make(folder: Path) -> Trained:
    """Train, and leave the model and its two data sets in `folder`."""
    pixels, labels = load_digits(return_X_y=True)
    images = pixels.astype(np.uint8).reshape(-1, 1, 8, 8)
    learn, held_out, learn_labels, held_out_labels = train_test_split(
        images, labels, test_size=HELD_OUT, stratify=labels, random_state=0
    )
    files = Trained(folder / "digits.onnx", folder / "train.npz", folder / "held_out.npz")
    np.savez(files.train, input=learn, labels=learn_labels)
    np.savez(files.held_out, input=held_out, labels=held_out_labels)
    network = fit(torch.from_numpy(learn) * SCALE, torch.from_numpy(learn_labels))
    export_onnx(network, torch.zeros(1, 1, 8, 8), files.model, input_names=["input"])
    return files


def fit(inputs: torch.Tensor, labels: torch.Tensor) -> DigitsNet:
    """The trained network, in eval mode; the same one for the same machine."""
    torch.set_num_threads(1)  # more get in each other's way on a network this small
    torch.manual_seed(0)
    network = DigitsNet()
    steps = EPOCHS * (len(inputs) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(inputs))[: steps // EPOCHS * BATCH].split(BATCH):
            loss = F.cross_entropy(network(inputs[batch]), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()
