"""The system calls that a program may make, with their numbers on x86_64. Everything else fails with EPERM.

Each was thought through for a process that shares its user with the template and the trainer: what it can name must be
the process itself, or something that Landlock or bubblewrap guards. So: no call that starts a process or a thread (a
loop of threads with small stacks escapes every limit that an unprivileged sandbox can set, and races need threads), no
socket, no signal, no other process's number, no mode or owner of a file.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OneOf:
    """An argument must be one of these numbers, compared in all 64 bits."""

    argument: int
    values: tuple[int, ...]


@dataclass(frozen=True)
class NoneOf:
    """These bits must be clear in an argument that the kernel reads as 32 bits."""

    argument: int
    bits: int


@dataclass(frozen=True)
class NotAs:
    """These bits of an argument must not be so; one that the kernel reads as 32 bits."""

    argument: int
    bits: int
    so: int


Checks = tuple[OneOf | NotAs | NoneOf, ...]

_FREE = {
    # descriptors that the program has
    **{"read": 0, "write": 1, "close": 3, "lseek": 8, "pread64": 17, "readv": 19, "writev": 20},
    **{"dup": 32, "dup2": 33, "dup3": 292, "pipe": 22},
    **{"poll": 7, "select": 23, "pselect6": 270, "ppoll": 271},
    # looking at files: bubblewrap hides them; Landlock alone lets names and sizes be seen, never contents
    **{"stat": 4, "fstat": 5, "lstat": 6, "newfstatat": 262, "statx": 332},
    **{"access": 21, "faccessat": 269, "faccessat2": 439, "getdents64": 217, "getcwd": 79},
    # memory of its own
    **{"mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "mremap": 25},
    # signals and timers of its own
    **{"rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sigaltstack": 131, "restart_syscall": 219},
    **{"pause": 34, "getitimer": 36, "alarm": 37, "setitimer": 38},
    # time
    **{"nanosleep": 35, "clock_nanosleep": 230, "clock_gettime": 228, "clock_getres": 229},
    **{"gettimeofday": 96, "time": 201, "times": 100},
    # who and where am I
    **{"getpid": 39, "getppid": 110, "gettid": 186, "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108},
    **{"uname": 63, "sysinfo": 99, "getrusage": 98, "getrlimit": 97, "sched_yield": 24, "getrandom": 318},
    **{"exit": 60, "exit_group": 231},
}

# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC. F_SETOWN with F_SETSIG would kill the template.
_FCNTL = OneOf(1, (0, 1, 2, 3, 1030))
# TCGETS, FIONCLEX, FIOCLEX: what opening a file in Python asks. TIOCSTI would type into a terminal.
_IOCTL = OneOf(1, (0x5401, 0x5450, 0x5451))
# FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET, private to the process; and the wait by the wall clock.
_FUTEX = OneOf(1, (128, 129, 137, 138, 393))
# MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MADV_NOHUGEPAGE. MADV_MERGEABLE would let it time what others hold in memory.
_MADVISE = OneOf(2, (4, 8, 14, 15))

O_ACCESS, O_CREAT, O_TRUNC, O_UNNAMED = 0o3, 0o100, 0o1000, 0o20000000
"""The last makes a file without a name, which would escape the count of the folder."""
O_NOTIFICATION = 0o200
"""O_NOTIFICATION_PIPE: a queue of the kernel's own messages, which nobody here needs."""

_CHECKED: dict[str, tuple[int, Checks]] = {
    "pipe2": (293, (NoneOf(1, O_NOTIFICATION),)),
    "fcntl": (72, (_FCNTL,)),
    "ioctl": (16, (_IOCTL,)),
    "futex": (202, (_FUTEX,)),
    "madvise": (28, (_MADVISE,)),
    # its own limits, to read. Another number would be the template: its limits are every later call's.
    "prlimit64": (302, (OneOf(0, (0,)), OneOf(2, (0,)))),
    "sched_getaffinity": (204, (OneOf(0, (0,)),)),
}

_WRITING = {
    # Landlock guards the paths of all of these. It does not guard chmod, chown, utime and setxattr: never add them.
    **{"mkdir": 83, "rmdir": 84, "unlink": 87, "rename": 82, "mkdirat": 258, "unlinkat": 263, "renameat": 264},
    **{"pwrite64": 18, "ftruncate": 77, "fsync": 74, "fdatasync": 75, "chdir": 80, "fchdir": 81},
}


def allowed(writable: bool) -> dict[str, tuple[int, Checks]]:
    """Name → number and checks of its arguments.

    Args:
        writable: whether a program may write files at all; which ones is up to Landlock and bubblewrap.
    """
    return {
        **{name: (number, ()) for name, number in _FREE.items()},
        **({name: (number, ()) for name, number in _WRITING.items()} if writable else {}),
        **_CHECKED,
        "open": (2, _opening(1, writable)),
        "openat": (257, _opening(2, writable)),
    }


def _opening(flags: int, writable: bool) -> Checks:
    """What the flags of an open must not be.

    Opening a file to read, with O_TRUNC, empties it. Landlock before version 3 takes that for reading.
    """
    if writable:
        return (NoneOf(flags, O_UNNAMED), NotAs(flags, O_ACCESS | O_TRUNC, O_TRUNC))
    return (NoneOf(flags, O_ACCESS | O_CREAT | O_TRUNC | O_UNNAMED),)
