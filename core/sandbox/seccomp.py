"""The system-call filter, written straight into the kernel's own language (classic BPF): no helper, no library.

What a computation over files and memory needs stays open; other processes, sockets, other programs, mounts and
the kernel's larger interfaces are closed. See seccomp(2) and `Documentation/userspace-api/seccomp_filter.rst`.
"""

import ctypes
import errno
import os
import socket
import struct

from core.sandbox.syscalls import FIRST_UNREVIEWED, PRETENDED, REFUSED, Processor, find_processor

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
KILL, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
NUMBER, ARCHITECTURE = 0, 4  # offsets in struct seccomp_data

X32_BIT = 0x40000000  # on x86_64, a second table of the same calls
CLONE_THREAD = 0x00010000
SEND_SIGNALS_TO = (8, 15)  # fcntl's F_SETOWN and F_SETOWN_EX
TERMINAL_TRICKS = (0x5412, 0x541C, 0x8901, 0x8902)  # ioctl's TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP

Instruction = tuple[int, int, int, int]


def install(*, cuda: bool) -> bool:
    """Filter this thread and all that it starts, for good. False where the system has no such filter."""
    processor = find_processor()
    if processor is None:
        return False
    program = [*_program(processor, os.getpid(), cuda=cuda)]
    packed = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(packed, len(packed))

    class Fprog(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    fprog = Fprog(len(program), ctypes.addressof(buffer))
    return _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(fprog)) == 0


def forbid_new_privileges() -> None:
    """No program that we start can be more than we are; the condition for both filter and Landlock."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1, None)


def _prctl(option: int, value: int, argument: object) -> int:
    return ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), argument, None, None)


def _program(processor: Processor, pid: int, *, cuda: bool) -> list[Instruction]:
    own, thread = (EQUAL, pid), (ANY_BIT, CLONE_THREAD)
    unix, forbidden = (EQUAL, socket.AF_UNIX), _refuse(errno.EPERM)
    program = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, processor.audit_arch),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        *_when(AT_LEAST, X32_BIT, forbidden),
        *_when(AT_LEAST, FIRST_UNREVIEWED, _refuse(errno.ENOSYS)),
        *(line for number in processor.numbers(REFUSED) for line in _when(EQUAL, number, forbidden)),
        *(line for number in processor.numbers(PRETENDED) for line in _when(EQUAL, number, _refuse(0))),
        # glibc falls back to clone, whose flags can be looked at; clone3's lie in memory
        *_when(EQUAL, processor.number("clone3"), _refuse(errno.ENOSYS)),
        *_only(processor.number("clone"), 0, [thread]),
        *_only(processor.number("socketpair"), 0, [unix]),
        *_only(processor.number("prlimit64"), 0, [(EQUAL, 0), own]),
        *(
            line
            for name in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
            for line in _only(processor.number(name), 0, [own])
        ),
        *_except(processor.number("fcntl"), 1, SEND_SIGNALS_TO),
        *_except(processor.number("ioctl"), 1, TERMINAL_TRICKS),
    ]
    if not cuda:
        program += _when(EQUAL, processor.number("memfd_create"), forbidden)
    return [*program, (RETURN, 0, 0, ALLOW)]


def _refuse(code: int) -> int:
    return ERRNO | code


def _when(test: int, value: int, answer: int) -> list[Instruction]:
    return [(test, 0, 1, value), (RETURN, 0, 0, answer)]


def _argument(index: int) -> Instruction:
    """Load the low half of an argument, which is all of an `int` (both processors are little-endian)."""
    return (LOAD, 0, 0, 16 + 8 * index)


def _only(number: int, argument: int, allowed: list[tuple[int, int]]) -> list[Instruction]:
    """Allow a call where one of the tests holds on its argument; refuse it otherwise."""
    judge = [_argument(argument)]
    for test, value in allowed:
        judge += _when(test, value, ALLOW)
    judge.append((RETURN, 0, 0, _refuse(errno.EPERM)))
    return [(EQUAL, 0, len(judge), number), *judge]


def _except(number: int, argument: int, refused: tuple[int, ...]) -> list[Instruction]:
    """Refuse a call for some values of its argument; allow it otherwise."""
    judge = [_argument(argument)]
    for value in refused:
        judge += _when(EQUAL, value, _refuse(errno.EPERM))
    judge.append((RETURN, 0, 0, ALLOW))
    return [(EQUAL, 0, len(judge), number), *judge]
