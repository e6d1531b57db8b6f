"""Hostile programs, fourth table: what a program with a folder to write in might do with it."""

from __future__ import annotations

from hostile import EPERM, FULL, NO_BUBBLEWRAP, NO_LANDLOCK, PRELUDE, Hostile, refused

NO_SPACE = refused(r"OSError: \[Errno (28|27)\].*")
READ_ONLY = {FULL: refused(r"(PermissionError: \[Errno 13\]|OSError: \[Errno 30\]|FileNotFoundError).*")}
READ_ONLY |= {NO_BUBBLEWRAP: refused(r"PermissionError: \[Errno 13\].*"), NO_LANDLOCK: READ_ONLY[FULL]}
"""EACCES is Landlock's answer, EROFS that of a mount, ENOENT that of a name which is not in view."""
OUT = (
    r"(PermissionError EACCES|PermissionError EPERM|OSError EROFS|OSError EXDEV|FileNotFoundError ENOENT|OSError EBUSY)"
)

FOLDER = [
    (
        "write, read, remove",
        "open('a', 'w').write('kept')\nprint(open('a').read())\nimport os\nos.unlink('a')",
        "ok",
        "kept",
    ),
    ("nothing of the last call is left", "import os\nprint(os.listdir('.'))", "ok", r"\[\]"),
    ("write above the folder", "open('../left', 'w')", "error", READ_ONLY),
    ("write to /tmp", "open('/tmp/left', 'w')", "error", READ_ONLY),
    ("write to the trainer's file", "open('@secret@', 'a')", "error", READ_ONLY),
    ("read of the trainer's file", "open('@secret@').read()", "error", READ_ONLY),
    ("write beside the modules", "import statistics\nopen(statistics.__file__, 'a')", "error", READ_ONLY),
    ("symbolic link out of it", "import os\nos.symlink('/etc/passwd', 'link')", "error", EPERM),
    ("hard link into it", "import os\nos.link('@secret@', 'link')", "error", EPERM),
    ("named pipe", "import os\nos.mkfifo('pipe')", "error", EPERM),
    (
        "socket",
        PRELUDE + "import stat\nprint(attempt(os.mknod, 'socket', stat.S_IFSOCK | 0o600))",
        "ok",
        "PermissionError EPERM",
    ),
    ("file without a name", "import os\nos.open('.', os.O_TMPFILE | os.O_RDWR)", "error", EPERM),
    (
        "modes, owners, times of files outside",
        PRELUDE + "print(attempt(os.chmod, '@secret@', 0), attempt(os.utime, '@secret@', (1, 1)),"
        " attempt(os.chown, '@secret@', 1, 1), attempt(os.setxattr, '@secret@', 'user.a', b''))",
        "ok",
        "(PermissionError EPERM ?){4}",
    ),
    (
        "files outside moved in, removed, cut",
        PRELUDE + "print(attempt(os.rename, '@secret@', 'mine'), attempt(os.unlink, '@secret@'),"
        " attempt(os.truncate, '@secret@', 0), attempt(os.rmdir, '@folder@'))",
        "ok",
        rf"({OUT} ?){{4}}",
    ),
    (
        "its own files moved out",
        PRELUDE
        + "open('mine', 'w')\nprint(attempt(os.rename, 'mine', '/tmp/left'), attempt(os.rename, 'mine', '../left'))",
        "ok",
        rf"({OUT} ?){{2}}",
    ),
    (
        "files outside emptied by opening them to read",
        PRELUDE + "import statistics\nprint(*(attempt(os.open, path, os.O_RDONLY | os.O_TRUNC) for path in "
        "(statistics.__file__, '@secret@')))",
        "ok",
        rf"({OUT} ?){{2}}",
    ),
    (
        "rights of root over a file that is shut",
        PRELUDE + "os.close(os.open('shut', os.O_CREAT | os.O_WRONLY, 0))\nprint(attempt(open, 'shut'))",
        "ok",
        "PermissionError EACCES",
    ),
    (
        "the folder itself removed or renamed",
        PRELUDE + "here = os.getcwd()\nprint(attempt(os.rmdir, here), attempt(os.rename, here, here + '.left'))",
        "ok",
        rf"({OUT} ?){{2}}",
    ),
    (
        "a written program executed",
        PRELUDE + "open('run', 'w').write('#!/bin/sh')\nprint(attempt(os.execv, 'run', ['run']))",
        "ok",
        "PermissionError EPERM",
    ),
    ("a written module imported", "open('mine.py', 'w').write('print(40 + 2)')\nimport mine", "ok", "42"),
    (
        "a huge file",
        "file = open('big', 'wb')\nfor _ in range(100): file.write(bytes(1 << 20)); file.flush()",
        "error|disk",
        "",
    ),
    (
        "a file with a hole",
        "file = open('big', 'wb')\nfile.seek(1 << 40)\nfile.write(b'x')\nfile.flush()",
        "error",
        NO_SPACE,
    ),
    (
        "a file grown by its length",
        "import os\nos.truncate(os.open('big', os.O_CREAT | os.O_RDWR), 1 << 40)",
        "error",
        NO_SPACE,
    ),
    ("many big files", "for n in range(100): open(f'{n}', 'wb').write(bytes(1 << 20))", "error|disk", ""),
    ("thousands of empty files", "for n in range(20000): open(f'{n}', 'wb')", "disk", ""),
    ("thousands of folders", "import os\nfor n in range(20000): os.mkdir(f'{n}')", "disk", ""),
    (
        "folders too deep to walk",
        "import os\nfor n in range(3000): os.mkdir('d' * 50); os.chdir('d' * 50)\nimport time\ntime.sleep(60)",
        "disk",
        "",
    ),
    (
        "folders too deep, left in a hurry",
        "import os\nfor n in range(200): os.mkdir('d' * 50); os.chdir('d' * 50)",
        "ok|disk",
        "",
    ),
    (
        "folders that cannot be read",
        "import os\nos.mkdir('shut', 0)\nos.mkdir('also')\nos.mkdir('also/shut', 0)\nopen('also/f', 'w')",
        "ok|disk",
        "",
    ),
    (
        "files deleted while they grow",
        "import os\nheld = []\nfor _ in range(100):\n  held.append(open('x', 'wb', buffering=0))\n  os.unlink('x')\n"
        "  held[-1].write(bytes(1 << 20))",
        "error|disk",
        "",
    ),
    ("fork loop in the folder", "import os\nfor _ in range(5): os.fork()", "error", EPERM),
    (
        "a module of the harness shadowed",
        "open('json.py', 'w').write('1/0')\nopen('inside.py', 'w').write('1/0')\nimport json\nprint(json.dumps(1))",
        "ok",
        "1",
    ),
]

PROGRAMS = [Hostile("folder", *row, writes=True) for row in FOLDER]
