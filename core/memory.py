"""Out of memory comes in several shapes."""

import torch

CPU_ALLOCATORS = ("DefaultCPUAllocator", "Failed to allocate memory", "std::bad_alloc")
"""torch's and onnxruntime's allocators have no error type of their own on the CPU; this is what they say."""


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    cause = error.__cause__
    if cause is not None and is_out_of_memory(cause):
        return True
    return any(word in str(error) for word in CPU_ALLOCATORS)
