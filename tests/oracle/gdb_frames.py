"""Runs inside gdb: prints every thread's frames as one line of JSON, {tid: [[pc, name], …]}.

Frames that gdb makes up are left out: inlined functions, and tail calls it infers from call-site
information. The environment says what to do:

UNSPOOL_GDB_LIMIT    how many frames a thread
UNSPOOL_GDB_SYSROOT  where the libraries of a qemu-user core are. Such a core does not hold what
                     gdb needs to relocate files, so the dynamic linker's list is read here.
UNSPOOL_GDB_EXECUTABLE  the program of such a core, whose symbols gdb has not read yet
"""
# mypy: ignore-errors

from __future__ import annotations

import json
import os

import gdb

LIMIT = int(os.environ["UNSPOOL_GDB_LIMIT"])
SYSROOT = os.environ.get("UNSPOOL_GDB_SYSROOT")
MADE_UP = (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME)
AT_BASE, AT_ENTRY = 7, 9


def auxiliary_vector():
    text = gdb.execute("info auxv", to_string=True)
    return {
        int(line.split()[0]): int(line.split()[-1], 16)
        for line in text.splitlines()
        if "0x" in line.split()[-1]
    }


def execute(command):
    return gdb.execute(command, to_string=True)


def address_of(name):
    return int(gdb.parse_and_eval(f"(unsigned long) &{name}"))


def word(address):
    return int(gdb.parse_and_eval(f"*(unsigned long *) {address:#x}"))


def linker_name():
    """The dynamic linker's name, and the size of a word."""
    if gdb.selected_inferior().architecture().name().startswith("aarch64"):
        return "ld-linux-aarch64.so.1", 8
    return "ld-linux-armhf.so.3", 4


def load_files():
    """Load the executable and every library where a qemu-user process had them."""
    executable = os.environ["UNSPOOL_GDB_EXECUTABLE"]
    vector = auxiliary_vector()
    linked = execute("info files").partition("Entry point:")[2].split()
    # In whole pages: bit 0 of an entry point says that it is T32 code, and gdb leaves it out.
    slide = vector[AT_ENTRY] - int(linked[0], 16) & ~0xFFF if linked else 0
    execute(f"symbol-file {executable} -o {slide:#x}" if slide else f"symbol-file {executable}")
    if not vector.get(AT_BASE):
        return
    name, size = linker_name()
    linker = f"{SYSROOT}/lib/{name}"
    execute(f"add-symbol-file {linker} -o {vector[AT_BASE]:#x}")
    entry = word(address_of("_r_debug") + size)
    for _ in range(64):
        if not entry:
            break
        base, name = word(entry), word(entry + size)
        path = SYSROOT + gdb.parse_and_eval(f"(char *) {name:#x}").string()
        if os.path.isfile(path) and os.path.basename(path) != os.path.basename(linker):
            execute(f"add-symbol-file {path} -o {base:#x}")
        entry = word(entry + 3 * size)


def frames():
    """Frames of the selected thread, innermost first."""
    found = []
    frame = gdb.newest_frame()
    while frame is not None and len(found) < LIMIT:
        if frame.type() not in MADE_UP:
            name = None if frame.type() == gdb.SIGTRAMP_FRAME else frame.name()
            found.append([frame.pc(), name])
        try:
            frame = frame.older()
        except gdb.error:
            break
    return found


def main():
    execute("set pagination off")
    execute("set confirm off")
    execute("set backtrace past-main on")
    execute("set backtrace limit unlimited")
    if SYSROOT:
        load_files()
    threads = {}
    for thread in gdb.selected_inferior().threads():
        try:
            thread.switch()
            threads[thread.ptid[1]] = frames()
        except gdb.error as error:
            # A first thread that ended before the crash: gdb knows of it, the core does not.
            if "PC not available" not in str(error):
                raise
    print("FRAMES " + json.dumps(threads))


main()
