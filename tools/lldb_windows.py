"""Has LLDB take Windows' programs and DLLs, and the vdso, for a minidump of a Wine process.

    UNSPOOL_PE=game:/usr/lib/x86_64-linux-gnu/wine/x86_64-windows lldb \\
        -o 'target create --core game.dmp' -o 'command script import tools/lldb_windows.py' \\
        -o 'bt all'

LLDB looks for files of a Linux process's modules that are for Linux, so it refuses DLLs. It takes
them if it is told what they are for. Files are looked for in the folders of UNSPOOL_PE, then
where the process had them, by their names alone: that they are the right ones is for you to know.

Needs LLDB with Python (Debian: lldb-16, python3-lldb-16); it runs in there.
"""

import os
import tempfile

ENDINGS = (".dll", ".exe", ".drv", ".sys", ".ocx")
VDSO = "linux-gate.so"
MOST = 64 << 10


def __lldb_init_module(debugger, _):
    target = debugger.GetSelectedTarget()
    machine = target.GetTriple().partition("-")[0]
    loaded = [(each, address_of(each, target)) for each in target.module_iter()]
    for module, base in loaded:
        path = str(module.GetFileSpec())
        if path.lower().endswith(ENDINGS):
            replace(target, module, base, find(path), f"{machine}-pc-windows-gnu")
        elif path.rpartition("/")[2] == VDSO:
            replace(target, module, base, vdso(target.GetProcess(), base), None)


def address_of(module, target):
    return module.GetObjectFileHeaderAddress().GetLoadAddress(target)


def find(path):
    name = path.replace("\\", "/").rpartition("/")[2]
    folders = os.environ.get("UNSPOOL_PE", "").split(":")
    for each in (*(os.path.join(folder, name) for folder in folders if folder), path):
        if os.path.isfile(each):
            return each
    return None


def vdso(process, base):
    """A copy of the vdso out of the dump. It has as many pages as can be read."""
    import lldb

    data = b""
    while len(data) < MOST:
        page = process.ReadMemory(base + len(data), 4096, lldb.SBError())
        if not page:
            break
        data += page
    if not data:
        return None
    copy = os.path.join(tempfile.mkdtemp(prefix="lldb-vdso-"), VDSO)
    with open(copy, "wb") as file:
        file.write(data)
    return copy


def replace(target, module, base, path, triple):
    taken = path and target.AddModule(path, triple, None)
    if not taken or not taken.IsValid():
        print(f"no file for {module.GetFileSpec().GetFilename()}")
        return
    target.RemoveModule(module)
    slide = base - taken.GetObjectFileHeaderAddress().GetFileAddress()
    error = target.SetModuleLoadAddress(taken, slide)
    if error.Fail():
        print(f"{path}: {error.GetCString()}")
