"""Run a command whose calls for fcntl locks the kernel refuses with ENOLCK, as a mount without locks does.

    python without_locks.py COMMAND [ARGUMENTS]

A seccomp filter on fcntl (x86-64 and aarch64) that its children inherit.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

FCNTL, ARCHITECTURE = {"x86_64": (72, 0xC000003E), "aarch64": (25, 0xC00000B7)}[platform.machine()]
F_SETLK, F_SETLKW = 6, 7
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.ENOLCK
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER, ARCH, SECOND = 0, 4, 24

PROGRAM = [
    (LOAD, 0, 0, ARCH),
    (EQUAL, 0, 6, ARCHITECTURE),
    (LOAD, 0, 0, NUMBER),
    (EQUAL, 0, 4, FCNTL),
    (LOAD, 0, 0, SECOND),
    (EQUAL, 1, 0, F_SETLK),
    (EQUAL, 0, 1, F_SETLKW),
    (RETURN, 0, 0, REFUSE),
    (RETURN, 0, 0, ALLOW),
]


class Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def refuse_locks() -> None:
    code = b"".join(struct.pack("HBBI", *line) for line in PROGRAM)
    program = Filter(len(PROGRAM), code)
    libc = ctypes.CDLL(None, use_errno=True)
    set_no_new_privs, set_seccomp, mode_filter = 38, 22, 2
    libc.prctl(set_no_new_privs, 1, 0, 0, 0)
    if libc.prctl(set_seccomp, mode_filter, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel takes no filter")


if __name__ == "__main__":
    refuse_locks()
    os.execvp(sys.argv[1], sys.argv[1:])
