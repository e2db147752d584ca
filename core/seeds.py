"""One seed per (job, step): every source of randomness starts a step in a state that only those two decide."""

import random

import numpy as np
import torch


def seed_step(seed: int, step: int) -> torch.Generator:
    """Seed the global generators, and return the step's own, on the CPU."""
    own, *rest = np.random.SeedSequence((seed, step + 1)).generate_state(4)
    random.seed(int(rest[0]))
    np.random.seed(int(rest[1]))
    torch.manual_seed(int(rest[2]))
    return torch.Generator().manual_seed(int(own))


def be_deterministic(device: torch.device) -> None:
    """On a GPU, deterministic algorithms where there are any, and a warning where there is none."""
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
