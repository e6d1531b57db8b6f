"""Turns the list of allowed system calls into a seccomp filter, in the kernel's classic BPF."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable, Mapping

from .kernel import PR_SET_SECCOMP, SECCOMP_MODE_FILTER, prctl
from .syscalls import Checks, NoneOf, NotAs, OneOf

LOAD, AND, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
AUDIT_ARCH_X86_64 = 0xC000003E
X32 = 0x40000000
"""From here on numbers mean the x32 interface, whose calls would pass for others."""
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
"""Offsets into ``struct seccomp_data``."""

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, constant."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def compile_filter(calls: Mapping[str, tuple[int, Checks]]) -> bytes:
    """Instructions that allow these calls, refuse others with EPERM, and kill who speaks another architecture's."""
    program: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, AUDIT_ARCH_X86_64),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        (JUMP_AT_LEAST, 0, 1, X32),
        (RETURN, 0, 0, KILL),
    ]
    for number, checks in sorted(calls.values(), key=lambda call: len(call[1])):
        body = [*_instructions(checks), (RETURN, 0, 0, ALLOW)]
        program += [(JUMP_EQUAL, 0, len(body), number), *body]
    program.append((RETURN, 0, 0, REFUSE))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def install(instructions: bytes) -> None:
    """Filter this process's calls for good; needs no_new_privs."""
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    program = _Program(len(instructions) // 8, ctypes.addressof(buffer))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program))


def _instructions(checks: Checks) -> Iterable[Instruction]:
    """Return early with a refusal, or fall through to what follows."""
    for check in checks:
        low = ARGUMENTS + 8 * check.argument  # little-endian: the low half comes first
        if isinstance(check, NoneOf):
            yield from ((LOAD, 0, 0, low), (JUMP_ANY_BIT, 0, 1, check.bits), (RETURN, 0, 0, REFUSE))
        elif isinstance(check, NotAs):
            yield from (
                (LOAD, 0, 0, low),
                (AND, 0, 0, check.bits),
                (JUMP_EQUAL, 0, 1, check.so),
                (RETURN, 0, 0, REFUSE),
            )
        elif isinstance(check, OneOf):
            yield from ((LOAD, 0, 0, low + 4), (JUMP_EQUAL, 1, 0, 0), (RETURN, 0, 0, REFUSE), (LOAD, 0, 0, low))
            for left, value in zip(range(len(check.values), 0, -1), check.values, strict=True):
                yield (JUMP_EQUAL, left, 0, value)
            yield (RETURN, 0, 0, REFUSE)
