"""Out of memory comes in several shapes. Telling them apart must not need memory: nothing is imported for it."""

import errno
import sys

NO_TYPE_OF_THEIR_OWN = ("DefaultCPUAllocator", "Failed to allocate memory", "std::bad_alloc", "Cannot allocate memory")
"""What allocators on the CPU and the dynamic linker say, whose errors are of any type."""


def is_out_of_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")
    of_torch = getattr(torch, "OutOfMemoryError", None)
    if isinstance(error, MemoryError) or (of_torch is not None and isinstance(error, of_torch)):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if error.__cause__ is not None and is_out_of_memory(error.__cause__):
        return True
    return any(words in str(error) for words in NO_TYPE_OF_THEIR_OWN)
