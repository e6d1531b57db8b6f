"""Hostile programs, third table: attacks on template and trainer, and on the kernel."""

from __future__ import annotations

from hostile import EPERM, PRELUDE, Hostile

IA32 = """
import ctypes, mmap
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid); int 0x80; ret
address = ctypes.addressof(ctypes.c_char.from_buffer(code))
print("alive", ctypes.CFUNCTYPE(ctypes.c_int)(address)())
"""
SIGNALS = """
for victim in (os.getppid(), @host@, 1, -1, 0, os.getpid()):
    print({call(62, victim, 0), call(200, victim, 0), call(234, victim, victim, 0)})
"""
"""kill, tkill and tgkill; with a signal that only asks whether it could be sent."""

HARNESS = [
    ("kill of the parent", "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)", "error", EPERM),
    ("kill of the trainer", "import os, signal\nos.kill(@host@, 0)", "error", EPERM),
    ("kill of everybody", "import os, signal\nos.kill(-1, 0)", "error", EPERM),
    ("kill of a group", "import os, signal\nos.killpg(os.getppid(), 0)", "error", EPERM),
    ("all signals to all", PRELUDE + SIGNALS, "ok", r"(\{'EPERM'\}\s*)+"),
    (
        "queued signals",
        PRELUDE + "print(call(129, os.getppid(), 9, bytes(128)), call(297, os.getppid(), os.getppid(), 9, bytes(128)))",
        "ok",
        "EPERM EPERM",
    ),
    (
        "signals by descriptor",
        PRELUDE + "print(call(434, os.getppid(), 0), call(424, 0, 9, 0, 0), call(438, 0, 0, 0))",
        "ok",
        "EPERM EPERM EPERM",
    ),
    (
        "signals by a timer",
        PRELUDE + "event = ctypes.create_string_buffer(64)\nprint(call(222, 0, event, event), call(283, 0, 0))",
        "ok",
        "EPERM EPERM",
    ),
    ("ptrace", PRELUDE + "print(call(101, 16, os.getppid(), 0, 0), call(101, 0, 0, 0, 0))", "ok", "EPERM EPERM"),
    (
        "limits of the parent",
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (3, 3))",
        "error",
        EPERM,
    ),
    (
        "limits of the trainer",
        "import resource\nresource.prlimit(@host@, resource.RLIMIT_CORE, (0, 0))",
        "error",
        EPERM,
    ),
    (
        "own limits, by another name",
        PRELUDE
        + "print(call(302, os.getpid(), 7, 0, bytes(16)), call(302, 0, 7, bytes(16), 0), call(160, 7, bytes(16)))",
        "ok",
        "EPERM EPERM EPERM",
    ),
    (
        "own limits, from an address whose lower half is zero",
        PRELUDE + "_libc.mmap.restype = ctypes.c_void_p\n"
        "print(_libc.mmap(ctypes.c_void_p(1 << 32), 4096, 3, 0x32, -1, 0) == 1 << 32, call(302, 0, 7, 1 << 32, 0))",
        "ok",
        "True EPERM",
    ),
    (
        "own limits raised",
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "error",
        r".*Errno 1\].*|.*ValueError.*",
    ),
    (
        "signals by an owned pipe",
        "import fcntl, os\nfcntl.fcntl(1, fcntl.F_SETOWN, os.getppid())\nfcntl.fcntl(1, fcntl.F_SETSIG, 9)",
        "error",
        EPERM,
    ),
    (
        "other ways to own one",
        PRELUDE + "owner = (ctypes.c_int * 2)(1, os.getppid())\nprint(call(72, 1, 15, owner), call(72, 1, 10, 9), "
        "call(72, 1, 4, 0o20000), call(72, 1, (1 << 32) | 8, os.getppid()), call(16, 1, 0x8901, owner))",
        "ok",
        "EPERM EPERM EPERM EPERM EPERM",
    ),
    (
        "leases, locks and notices",
        PRELUDE + "print(call(72, 0, 1024, 0), call(72, 0, 1026, 1), call(72, 0, 6, bytes(64)), call(73, 0, 2))",
        "ok",
        "EPERM EPERM EPERM EPERM",
    ),
    (
        "the template's socket",
        "import os\nfor number in range(3, 64):\n  try: os.write(number, b'{}')\n"
        "  except OSError as error: print(error.errno)",
        "ok",
        r"(9\s*){61}",
    ),
    (
        "the template's socket, by its object",
        "import gc, socket\ngc.unfreeze()\n"
        "print([held.send(b'{}') for held in gc.get_objects() if isinstance(held, socket.socket)])",
        "error",
        EPERM.replace("PermissionError", "(PermissionError|OSError)").replace("1", "(1|9)"),
    ),
    ("setuid", "import os\nos.setuid(0)", "error", EPERM),
    ("groups", "import os\nos.setgroups([])", "error", EPERM),
    (
        "capabilities",
        PRELUDE + "print(call(126, bytes(8), bytes(24)), call(125, bytes(8), bytes(24)))",
        "ok",
        "EPERM EPERM",
    ),
    ("nice", "import os\nos.nice(-5)", "error", EPERM),
    (
        "priorities of the parent",
        PRELUDE
        + "print(call(141, 0, os.getppid(), 19), call(251, 1, os.getppid(), 0), call(144, os.getppid(), 3, bytes(8)))",
        "ok",
        "EPERM EPERM EPERM",
    ),
    (
        "processors of the parent",
        "import os\nprint(len(os.sched_getaffinity(0)) > 0)\nos.sched_setaffinity(os.getppid(), [0])",
        "error",
        "True\n" + EPERM,
    ),
    ("processors of others, to look", PRELUDE + "print(call(204, os.getppid(), 128, bytes(128)))", "ok", "EPERM"),
    ("a session of its own", "import os\nos.setsid()", "error", EPERM),
    (
        "staying when the parent dies",
        PRELUDE + "print(call(157, 1, 0, 0, 0, 0), call(157, 4, 1, 0, 0, 0), call(157, 36, 1, 0, 0, 0))",
        "ok",
        "EPERM EPERM EPERM",
    ),
    (
        "filters replaced",
        PRELUDE
        + "print(call(317, 1, 0, bytes(16)), call(157, 22, 2, bytes(16), 0, 0), call(444, 0, 0, 1), call(446, 0, 0))",
        "ok",
        "EPERM EPERM EPERM EPERM",
    ),
    ("typing into the terminal", "import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSTI, b'x')", "error", EPERM),
    ("a shared queue", PRELUDE + "print(call(240, b'/left', 66, 0o600, 0), call(68, 1, 0o1600))", "ok", "EPERM EPERM"),
    ("semaphores", PRELUDE + "print(call(64, 1, 1, 0o1600), call(66, 0, 0, 0))", "ok", "EPERM EPERM"),
    (
        "a descriptor taken from the parent",
        PRELUDE + "print(call(438, 1, 0, 0), call(312, os.getppid(), os.getpid(), 0, 0, 0))",
        "ok",
        "EPERM EPERM",
    ),
    (
        "a shared futex",
        PRELUDE
        + "word = ctypes.byref(ctypes.c_int())\nprint(call(202, word, 1, 1, 0, 0, 0), call(202, word, 6, 1, 0, 0, 0))",
        "ok",
        "EPERM EPERM",
    ),
    ("pages merged with other processes", "import mmap\nmmap.mmap(-1, 4096).madvise(12)", "error", EPERM),
]

SURFACE = [
    ("x32 call", PRELUDE + "print('alive', call(0x40000000 | 39))", "killed SIGSYS", ""),
    ("x32 call by a negative number", PRELUDE + "print('alive', call(-1))", "killed SIGSYS", ""),
    ("32-bit call", IA32, "killed SIGSYS|killed SIGSEGV", ""),
    (
        "io_uring",
        PRELUDE + "print(call(425, 8, bytes(120)), call(426, 0, 1, 0, 0, 0, 0), call(427, 0, 0, 0, 0))",
        "ok",
        "EPERM EPERM EPERM",
    ),
    (
        "namespaces",
        PRELUDE + "print(call(272, 0x10000000), call(308, 0, 0), call(56, 0x10000011, 0, 0, 0, 0))",
        "ok",
        "EPERM EPERM EPERM",
    ),
    (
        "mount",
        PRELUDE
        + "print(call(165, b'none', b'/left', b'tmpfs', 0, 0), call(166, b'/left', 0), call(155, b'/left', b'/'))\n"
        "print(call(161, b'/'))",
        "ok",
        "EPERM EPERM EPERM\nEPERM",
    ),
    (
        "new mounts",
        PRELUDE + "print([call(number, 0, 0, 0, 0, 0) for number in range(428, 434)], call(442, 0, 0, 0, 0, 0))",
        "ok",
        r"\[('EPERM'(, )?){6}\] EPERM",
    ),
    (
        "raw execve",
        PRELUDE + "print(call(59, b'/bin/sh', 0, 0), call(322, -100, b'/bin/sh', 0, 0, 0))",
        "ok",
        "EPERM EPERM",
    ),
    (
        "execution of memory by descriptor",
        PRELUDE + "print(call(319, b'x', 0), call(322, 1, b'', 0, 0, 0x1000), call(447, 0))",
        "ok",
        "EPERM EPERM EPERM",
    ),
    (
        "keys",
        PRELUDE
        + "print(call(248, b'user', b'x', b'x', 1, -3), call(249, b'user', b'x', 0, 0), call(250, 0, -3, 1, 0, 0))",
        "ok",
        "EPERM EPERM EPERM",
    ),
    (
        "a pipe of the kernel's notices",
        PRELUDE + "two = (ctypes.c_int * 2)()\nprint(call(293, two, 0o200), call(293, two, 0o2000000))",
        "ok",
        "EPERM done",
    ),
    ("userfaultfd", PRELUDE + "print(call(323, 1))", "ok", "EPERM"),
    ("bpf", PRELUDE + "print(call(321, 0, bytes(128), 128))", "ok", "EPERM"),
    ("perf events", PRELUDE + "print(call(298, bytes(128), 0, -1, -1, 0))", "ok", "EPERM"),
    (
        "modules and kernels",
        PRELUDE + "print({call(number, 0, 0, 0, 0, 0) for number in (175, 176, 246, 313, 320, 169, 167, 168)})",
        "ok",
        r"\{'EPERM'\}",
    ),
    ("uretprobe, which no filter sees", PRELUDE + "print(call(335))", "killed SIGILL|ok", "EPERM|ENOSYS|"),
    (
        "clocks and names",
        PRELUDE + "print({call(number, 0, 0, 0, 0) for number in (227, 305, 159, 164, 170, 171)})",
        "ok",
        r"\{'EPERM'\}",
    ),
    (
        "ports and descriptor tables",
        PRELUDE + "print({call(number, 0, 0, 0, 0) for number in (172, 173, 154, 135, 158, 103)})",
        "ok",
        r"\{'EPERM'\}",
    ),
    (
        "pages moved about",
        PRELUDE
        + "print({call(number, 0, 0, 0, 0, 0, 0) for number in (256, 279, 237, 238, 216, 275, 276, 278, 440, 448)})",
        "ok",
        r"\{'EPERM'\}",
    ),
    (
        "protection keys and shadow stacks",
        PRELUDE + "print({call(number, 0, 0, 0, 0) for number in (329, 330, 331, 324, 334, 453)})",
        "ok",
        r"\{'EPERM'\}",
    ),
    (
        "other ways to wait",
        PRELUDE + "print({call(number, 0, 0, 0, 0) for number in (213, 291, 232, 233, 284, 290, 282, 289, 61, 247)})",
        "ok",
        r"\{'EPERM'\}",
    ),
]

GROUPS = {"attack on the harness": HARNESS, "kernel": SURFACE}
PROGRAMS = [Hostile(group, *row) for group, rows in GROUPS.items() for row in rows]
