"""Hostile programs, first table: processes, memory, time, parser, output, crashes, state.

Bombs are small ones: where a barrier were missing, the machine must survive to say so.
"""

from __future__ import annotations

from hostile import EPERM, PRELUDE, Hostile, refused

NO_THREAD = refused("RuntimeError: can't start new thread")
NO_SHELL = "-1|32512"
"""What `os.system` returns, by version of the C library, when it cannot start one."""
NO_MEMORY = refused("(MemoryError.*|OSError: .*Cannot allocate memory)")

PROCESSES = [
    ("fork loop", "import os\nfor _ in range(5): os.fork()", "error", EPERM),
    (
        "fork loop that goes on regardless",
        PRELUDE + "print({attempt(os.fork) for _ in range(5)})",
        "ok",
        "{'PermissionError EPERM'}",
    ),
    ("subprocess loop", "import subprocess\nfor _ in range(20): subprocess.run(['/bin/true'])", "error", EPERM),
    ("multiprocessing pool", "import multiprocessing\nmultiprocessing.Pool(4)", "error", EPERM),
    ("thread", "import threading\nthreading.Thread(target=print, args=('alive',)).start()", "error", NO_THREAD),
    (
        "threads with small stacks, which no limit of memory would stop",
        "import threading\nthreading.stack_size(32768)\nfor _ in range(5000): threading.Thread(target=input).start()",
        "error",
        NO_THREAD,
    ),
    ("exec of a shell", "import os\nos.execv('/bin/sh', ['sh', '-c', 'echo alive'])", "error", EPERM),
    ("os.system", "import os\nprint(os.system('echo alive'))", "ok", NO_SHELL),
    ("posix_spawn", "import os\nos.posix_spawn('/bin/sh', ['sh', '-c', 'echo alive'], {})", "error", EPERM),
    ("vfork", PRELUDE + "print(call(58))", "ok", "EPERM"),
    ("raw fork", PRELUDE + "print(call(57), call(56, 17, 0, 0, 0, 0))", "ok", "EPERM EPERM"),
    ("clone3", PRELUDE + "print(call(435, ctypes.create_string_buffer(88), 88))", "ok", "EPERM"),
]

MEMORY = [
    ("list growth", "held = []\nfor n in range(1000): held.append('x' * 1000000 + str(n))", "memory", NO_MEMORY),
    ("huge string", "held = 'x' * 10**9", "memory", NO_MEMORY),
    ("huge bytes, in steps", "held = b''\nfor _ in range(100): held += bytes(10**7)", "memory", NO_MEMORY),
    ("mmap", "import mmap\nmmap.mmap(-1, 4 << 30)", "memory|error", NO_MEMORY),
    (
        "shared memory",
        "from multiprocessing.shared_memory import SharedMemory\nSharedMemory(create=True, size=1 << 20)",
        "error",
        EPERM,
    ),
    ("SysV shared memory", PRELUDE + "print(call(29, 0, 1 << 20, 0o1600))", "ok", "EPERM"),
    ("memfd", "import os\nos.memfd_create('held')", "error", EPERM),
    (
        "zip bomb",
        "import zlib\npacked = zlib.compress(bytes(1 << 26), 9)\nheld = [zlib.decompress(packed) for _ in range(16)]",
        "memory",
        NO_MEMORY,
    ),
    (
        "many pipes",
        "import os\nfor number in range(100): print(number, os.pipe())",
        "error",
        r"0 .*\n13 \(29, 30\)\nTraceback .*OSError: \[Errno 24\] Too many open files",
    ),
    ("wider pipes", "import fcntl, os\nfcntl.fcntl(os.pipe()[1], 1031, 1 << 20)", "error", EPERM),
    ("locked memory", PRELUDE + "print(call(149, ctypes.create_string_buffer(1 << 20), 1 << 20))", "ok", "EPERM"),
]

TIME = [
    ("empty loop", "while True: pass", "timeout", ""),
    ("long sleep", "import time\nprint('begun')\ntime.sleep(10**6)", "timeout", "begun"),
    ("one long multiplication", "9**9**9", "timeout|memory", ""),
    ("catastrophic pattern", "import re\nre.match(r'(a+)+$', 'a' * 40 + 'b')", "timeout", ""),
    (
        "all exceptions swallowed",
        "while True:\n  try:\n    while True: pass\n  except BaseException: pass",
        "timeout",
        "",
    ),
    (
        "signals ignored",
        "import signal\nfor n in (signal.SIGTERM, signal.SIGXCPU, signal.SIGINT): signal.signal(n, signal.SIG_IGN)\n"
        "while True: pass",
        "timeout",
        "",
    ),
    (
        "all signals blocked",
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\nwhile True: signal.pause()",
        "timeout",
        "",
    ),
]

PARSER = [
    ("100,000 brackets", "(" * 100000, "error", r".*too many nested parentheses"),
    ("deep tree", "x = " + "-" * 100000 + "1", "error|memory|killed SIGSEGV", ""),
    ("deep expression", "+".join(["1"] * 100000), "ok|error|memory|killed SIGSEGV", ""),
    (
        "deep recursion",
        "import sys\nsys.setrecursionlimit(10**9)\ndef down(): down()\ndown()",
        "memory|killed SIGSEGV|error|timeout",
        "",
    ),
    ("null byte", "print(1)\0", "error", r".*null bytes.*"),
    ("syntax error", "def (:", "error", r'  File "<program>", line 1\n.*SyntaxError: .*'.strip()),
    ("empty program", "", "ok", ""),
    ("lone surrogate in the source", "x = '\ud800'", "error", ".*UnicodeEncodeError.*"),
]

OUTPUT = [
    ("endless print", "while True: print('spam')", "output", "(spam\n)+s?p?a?m?"),
    ("200 MB without a newline", "import sys\nfor _ in range(200): sys.stdout.write('x' * 10**6)", "output", "x+"),
    ("flood of stderr", "import sys\nwhile True: sys.stderr.write('e' * 10000 + '\\n')", "output", "[e\n]+"),
    ("binary bytes", "import os\nos.write(1, bytes(range(256)))", "ok", ".*\ufffd.*"),
    ("lone surrogate", "print('a\\ud800b')", "ok", r"a\\ud800b"),
    ("closed stdout", "import sys\nsys.stdout.close()\nprint('lost')", "error", r".*closed file.*"),
    ("closed descriptors", "import os\nos.closerange(0, 32)\nprint('lost')", "ok|error", ""),
    (
        "forged verdict",
        """print('{"stopped": "", "status": 0}')\nraise SystemExit(1)""",
        "error",
        r'\{"stopped": "", "status": 0\}',
    ),
    ("forged failure of the machinery", "import os\nos._exit(70)", "error", ""),
    ("exception that cannot be shown", "class E(Exception):\n  def __str__(self): raise self\nraise E()", "error", ""),
    (
        "exception of 10 MB",
        "raise ValueError('x' * 10**7)",
        "error",
        r".*ValueError: x{900,} …",
    ),
]

CRASHES = [
    ("null pointer", "import ctypes\nctypes.string_at(0)", "killed SIGSEGV", ""),
    ("abort", "import os\nos.abort()", "killed SIGSEGV|killed SIGABRT", ""),
    ("os._exit(0)", "import os\nos._exit(0)", "ok", ""),
    ("sys.exit", "import sys\nsys.exit('a last word')", "error", "a last word"),
    (
        "pickle that runs a shell",
        "import os, pickle\nclass P:\n  def __reduce__(self): return os.system, ('echo alive',)\n"
        "print(pickle.loads(pickle.dumps(P())))",
        "ok",
        NO_SHELL,
    ),
    ("atexit hook that hangs", "import atexit, time\natexit.register(time.sleep, 1000)\nprint('end')", "ok", "end"),
    ("atexit hook", "import atexit\natexit.register(print, 'alive')", "ok", "<built-in function print>"),
    (
        "running code in the stack of the template",
        "import sys\nframe = sys._getframe()\nwhile frame.f_back: frame = frame.f_back\nframe.f_globals.clear()\n"
        "frame.f_builtins.clear()",
        "ok|error",
        "",
    ),
    (
        "exit and report replaced",
        "import os, sys\nos._exit = lambda status: None\nsys.modules['inside.program'].run = None\nprint('end')",
        "ok|error",
        ".*end.*",
    ),
]

STATE = [
    ("input", "input()", "error", refused("EOFError: EOF when reading a line")),
    ("standard input read", "import sys\nprint(repr(sys.stdin.read()))", "ok", "''"),
    ("math patched", "import math\nmath.sqrt = lambda x: 'patched'\nprint(math.sqrt(4))", "ok", "patched"),
    ("math as it was", "import math\nprint(math.sqrt(4))", "ok", "2.0"),
    ("builtins patched", "import builtins\nbuiltins.sorted = None\nbuiltins.left = 1\nprint(sorted)", "ok", "None"),
    (
        "builtins as they were",
        "import builtins\nprint(sorted([2, 1]), hasattr(builtins, 'left'))",
        "ok",
        r"\[1, 2\] False",
    ),
]

GROUPS = {
    "processes": PROCESSES,
    "memory": MEMORY,
    "time": TIME,
    "parser": PARSER,
    "output": OUTPUT,
    "crash": CRASHES,
    "state": STATE,
}
SLOW = ("memory", "time", "deep recursion")
"""Groups and programs that take their time to be stopped."""
PROGRAMS = [
    Hostile(group, *row, slow=group in SLOW or row[0] in SLOW) for group, rows in GROUPS.items() for row in rows
]
