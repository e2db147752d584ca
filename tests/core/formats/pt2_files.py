"""Small torch.export archives, and what can be changed in them by hand."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

Edit = Callable[[dict[str, Any]], object]
PROGRAM = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"


class Small(nn.Module):
    """A convolutional network of any batch and height, with a size computed from another."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = torch.relu_(self.norm(self.conv(image)))
        batch, channels, height, width = features.shape
        return self.head(features.view(batch, channels, height * width).mean(2))


@cache
def saved() -> Mapping[str, bytes]:
    """The members of the small network's archive, below its folder."""
    torch.manual_seed(0)
    sizes = {"image": {0: torch.export.Dim("batch"), 2: torch.export.Dim("height", min=4, max=64)}}
    program = torch.export.export(Small().eval(), (torch.randn(2, 3, 8, 8),), dynamic_shapes=sizes)
    file = io.BytesIO()
    torch.export.save(program, file)
    with zipfile.ZipFile(file) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: Mapping[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in (members or saved()).items():
            archive.writestr(f"m/{name}", data)
    return path


def edited(edit: Edit, member: str = PROGRAM) -> dict[str, bytes]:
    """The members with one that was JSON changed."""
    data = json.loads(saved()[member])
    edit(data)
    return {**saved(), member: json.dumps(data).encode()}
