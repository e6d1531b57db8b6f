"""Landlock: an unprivileged process gives up the file system, TCP, and signals to processes outside.

Numbers from the kernel's ``include/uapi/linux/landlock.h``; they are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Sequence

from .kernel import checked, syscall

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
GET_VERSION = 1
RULE_PATH_BENEATH = 1

WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(1, 6))
MAKE_DIR, MAKE_REG = 1 << 7, 1 << 8
REFER, TRUNCATE = 1 << 13, 1 << 14
READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
"""No links, sockets, pipes or devices, and no running of files."""
OF_A_FILE = WRITE_FILE | READ_FILE | TRUNCATE
ALL_TCP = 0b11
ALL_SCOPES = 0b11
"""Abstract Unix sockets; signals."""


def abi() -> int:
    """Version that the kernel offers; 0 if none."""
    return max(0, syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(GET_VERSION)))


def ruleset(version: int, readable: Sequence[str], writable: str | None) -> int:
    """Descriptor of a set of rules that refuses all but reading some paths and writing below one."""
    handled = _file_rights(version)
    attributes = struct.pack("QQQ", handled, ALL_TCP if version >= 4 else 0, ALL_SCOPES if version >= 6 else 0)
    size = ctypes.c_size_t(24 if version >= 6 else 16 if version >= 4 else 8)
    rules = checked(syscall(CREATE_RULESET, attributes, size, ctypes.c_uint32(0)), "landlock_create_ruleset")
    for path in readable:
        _allow(rules, path, READ)
    if writable is not None:
        _allow(rules, writable, WRITE & handled)
    return rules


def restrict(rules: int) -> None:
    """Put this process under the rules for good; needs no_new_privs."""
    checked(syscall(RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0)), "landlock_restrict_self")


def _file_rights(version: int) -> int:
    """All rights that a version knows: what is not handled is not refused."""
    bits = 13 + (version >= 2) + (version >= 3) + (version >= 5)
    return (1 << bits) - 1


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(target).st_mode):
            rights &= OF_A_FILE
        rule = struct.pack("=Qi", rights, target)
        done = syscall(ADD_RULE, ctypes.c_int(rules), ctypes.c_int(RULE_PATH_BENEATH), rule, ctypes.c_uint32(0))
        checked(done, f"landlock_add_rule for {path}")
    finally:
        os.close(target)
