"""Hostile programs, second table: files, secrets, the network. ``@…@`` is filled in by the test."""

from __future__ import annotations

from hostile import EPERM, FULL, NO_BUBBLEWRAP, NO_LANDLOCK, OUT_OF_REACH, OUT_OF_SIGHT, PRELUDE, Hostile

FILES = [
    ("/etc/passwd", "print(open('/etc/passwd').read())", "error", OUT_OF_SIGHT),
    ("/etc/shadow", "print(open('/etc/shadow').read())", "error", OUT_OF_SIGHT),
    ("a file of the trainer", "print(open('@secret@').read())", "error", OUT_OF_SIGHT),
    (
        "a file of the trainer, by its folder's descriptor",
        "import os\nprint(os.open('passwd', os.O_RDONLY, dir_fd=os.open('/etc', os.O_PATH)))",
        "error",
        OUT_OF_SIGHT,
    ),
    (
        "list of /",
        PRELUDE + "found = attempt(os.listdir, '/')\nprint('tmp' in found or found)",
        "ok",
        {
            FULL: "PermissionError EACCES",
            NO_BUBBLEWRAP: "PermissionError EACCES",
            NO_LANDLOCK: r"done \[.*'harness'.*\]",
        },
    ),
    (
        "list of home",
        PRELUDE + "print(attempt(os.listdir, '@home@'))",
        "ok",
        "PermissionError EACCES|FileNotFoundError.*|done .*",
    ),
    ("list of the trainer's folder", "import os\nprint(os.listdir('@folder@'))", "error", OUT_OF_SIGHT),
    ("the host's half of the harness", "print(open('@harness@').read())", "error", OUT_OF_SIGHT),
    (
        "its own half, which holds no secret",
        PRELUDE + "import inside.child\nprint(attempt(open, inside.child.__file__))",
        "ok",
        {FULL: "PermissionError EACCES", NO_BUBBLEWRAP: "PermissionError EACCES", NO_LANDLOCK: "done .*"},
    ),
    ("write of a temporary file", "open('/tmp/left', 'w')", "error", EPERM),
    ("tempfile", "import tempfile\ntempfile.TemporaryFile()", "error", r".*No usable temporary directory found.*"),
    ("write beside the modules", "import math, statistics\nopen(statistics.__file__, 'a')", "error", EPERM),
    ("write of a new module", "import os\nopen(os.path.dirname(os.__file__) + '/left.py', 'w')", "error", EPERM),
    ("symbolic link", "import os\nos.symlink('/etc/passwd', '/tmp/left')", "error", EPERM),
    ("hard link", "import os\nos.link('/etc/passwd', '/tmp/left')", "error", EPERM),
    ("named pipe", "import os\nos.mkfifo('/tmp/left')", "error", EPERM),
    ("folder", "import os\nos.mkdir('/tmp/left')", "error", EPERM),
    ("device", "import os, stat\nos.mknod('/tmp/left', stat.S_IFCHR | 0o600, os.makedev(1, 1))", "error", EPERM),
    ("chmod", "import os\nos.chmod('@secret@', 0o777)", "error", EPERM),
    ("chown", "import os\nos.chown('@secret@', 1, 1)", "error", EPERM),
    ("utime", "import os\nos.utime('@secret@', (1, 1))", "error", EPERM),
    ("extended attribute", "import os\nos.setxattr('@secret@', 'user.left', b'1')", "error", EPERM),
    ("truncate", "import os\nos.truncate('@secret@', 0)", "error", EPERM),
    ("unlink", "import os\nos.unlink('@secret@')", "error", EPERM),
    ("rename", "import os\nos.rename('@secret@', '@secret@.left')", "error", EPERM),
    ("file without a name", "import os\nos.open('/tmp', os.O_TMPFILE | os.O_RDWR)", "error", EPERM),
    ("open for reading, with truncation", "import os\nos.open('@secret@', os.O_RDONLY | os.O_TRUNC)", "error", EPERM),
    ("watching a folder", PRELUDE + "print(call(253), call(294, 0), call(300, 0, 0))", "ok", "EPERM EPERM EPERM"),
    (
        "file by handle",
        PRELUDE + "print(call(303, -100, b'/etc/passwd', 0, 0, 0), call(304, -100, 0, 0))",
        "ok",
        "EPERM EPERM",
    ),
    ("shared memory of others", PRELUDE + "print(attempt(os.listdir, '/dev/shm'))", "ok", OUT_OF_REACH),
    (
        "terminal",
        PRELUDE + "print(attempt(open, '/dev/tty'))",
        "ok",
        OUT_OF_REACH | {NO_BUBBLEWRAP: "OSError ENXIO|PermissionError EACCES"},
    ),
    ("disk", PRELUDE + "print(attempt(os.listdir, '/sys'), attempt(os.listdir, '/dev'))", "ok", ""),
]

WALK = """
import os
found = []
for name in ["self", "thread-self", "1", str(os.getppid()), "@host@"]:
    for what in ["environ", "cmdline", "maps", "mem", "fd", "root/etc/passwd", "cwd", "task"]:
        path = f"/proc/{name}/{what}"
        try:
            found.append((path, os.listdir(path) if what in ("fd", "cwd", "task") else open(path, "rb").read(99)))
        except OSError:
            pass
try:
    found += os.listdir("/proc")
except OSError:
    pass
print(found)
"""

SECRETS = [
    ("environment", "import os\nprint(dict(os.environ))", "ok", "{}"),
    (
        "environment of the C library",
        "import ctypes\nprint(ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')[0])",
        "ok|killed SIGSEGV",
        "None|",
    ),
    ("/proc/self/environ", "print(open('/proc/self/environ').read())", "error", OUT_OF_SIGHT),
    ("/proc/1/environ", "print(open('/proc/1/environ').read())", "error", OUT_OF_SIGHT),
    ("walk through /proc", WALK, "ok", r"\[\]"),
    (
        "memory of the parent",
        PRELUDE + "print(attempt(open, f'/proc/{os.getppid()}/mem', 'rb'), attempt(open, '/proc/@host@/mem', 'rb'))",
        "ok",
        {mode: f"{said} {said}" for mode, said in OUT_OF_REACH.items()},
    ),
    (
        "memory of the parent by system call",
        PRELUDE + "print(call(310, os.getppid(), 0, 0, 0, 0, 0), call(311, os.getppid(), 0, 0, 0, 0, 0))",
        "ok",
        "EPERM EPERM",
    ),
    (
        "inherited descriptors",
        "import os\nfor number in range(4096):\n  try: print(number, os.fstat(number).st_rdev or 'pipe')\n"
        "  except OSError: pass",
        "ok",
        "0 259\n1 pipe\n2 pipe",
    ),
    ("parent's standard input", PRELUDE + "print(attempt(os.lseek, 0, 0, 0), os.read(0, 9))", "ok", ".*b''"),
    (
        "hunt through all objects",
        "import gc\ngc.unfreeze()\nshown = [repr(held)[:2000] for held in gc.get_objects()[:20000]]\n"
        "print(len(shown) > 5000, [text for text in shown if '@half@' in text])",
        "ok",
        r"True \[.*\]",
    ),
    (
        "frames of the template",
        "import sys\nframe = sys._getframe()\nwhile frame:\n  print(frame.f_code.co_name, frame.f_locals)\n"
        "  frame = frame.f_back",
        "ok",
        "",
    ),
    (
        "the template's command line in memory",
        "import sys\nprint(sys.argv, sys.orig_argv)",
        "ok",
        r"\['program.py'\] \['program.py'\]",
    ),
    (
        "names of the machine",
        "import os\nprint(os.uname().nodename)",
        "ok",
        {FULL: "sandbox", NO_LANDLOCK: "sandbox"} | {NO_BUBBLEWRAP: ".*"},
    ),
]

NETWORK = [
    ("TCP", "import socket\nsocket.create_connection(('192.0.2.1', 80), 1)", "error", EPERM),
    ("UDP", "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)", "error", EPERM),
    (
        "the port of an engine on this machine",
        "import socket\nsocket.create_connection(('127.0.0.1', @port@), 1)",
        "error",
        EPERM,
    ),
    ("a server", "import socket\nsocket.create_server(('127.0.0.1', 0))", "error", EPERM),
    ("names", "import socket\nsocket.getaddrinfo('example.org', 80)", "error", r".*gaierror.*"),
    ("Unix socket", "import socket\nsocket.socket(socket.AF_UNIX).connect('/run/docker.sock')", "error", EPERM),
    ("abstract Unix socket", "import socket\nsocket.socket(socket.AF_UNIX).connect('\\0@abstract@')", "error", EPERM),
    ("pair of sockets, to pass descriptors", "import socket\nsocket.socketpair()", "error", EPERM),
    (
        "urllib",
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:@port@/', timeout=1)",
        "error",
        r".*Errno 1\].*",
    ),
    (
        "raw system call",
        PRELUDE + "print(call(41, 2, 1, 0), call(42, 0, 0, 0), call(53, 1, 1, 0, 0))",
        "ok",
        "EPERM EPERM EPERM",
    ),
    ("netlink", "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)", "error", EPERM),
    ("vsock, to the hypervisor", "import socket\nsocket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)", "error", EPERM),
    ("packets", "import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "error", EPERM),
    ("the kernel's ciphers", "import socket\nsocket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)", "error", EPERM),
    ("asyncio, which needs sockets", "import asyncio\nasyncio.run(asyncio.sleep(0))", "error", EPERM),
    (
        "sending through an inherited descriptor",
        PRELUDE + "print(call(44, 1, b'x', 1, 0, 0, 0), call(46, 0, 0, 0))",
        "ok",
        "EPERM EPERM",
    ),
]

GROUPS = {"files": FILES, "secrets": SECRETS, "network": NETWORK}
PROGRAMS = [Hostile(group, *row) for group, rows in GROUPS.items() for row in rows]
