"""What a mapping is by its own name and permissions, when nobody knows more."""

from __future__ import annotations

from unspool.analyses.layout.paint import Label
from unspool.analyses.layout.records import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.targets.live.procfs import Mapping

# Names that the kernel gives (proc_pid_maps(5), arch_vma_name).
_KERNEL = {
    "[vdso]": "code that the kernel lends (vdso)",
    "[vvar]": "data of the vdso (vvar)",
    "[vvar_vclock]": "clocks of the vdso (vvar_vclock)",
    "[vsyscall]": "old system call page (vsyscall)",
    "[vectors]": "exception vectors",
    "[sigpage]": "signal trampolines (sigpage)",
    "[uprobes]": "instructions of uprobes",
}
# What allocators and runtimes call their anonymous memory by prctl(PR_SET_VMA_ANON_NAME), since
# Linux 5.17: glibc (tunable glibc.mem.decorate_maps), Android's, Go 1.25, Hoard and others.
_NAMED_HEAPS = (
    "glibc: malloc", "glibc: loader malloc", "jemalloc", "mimalloc", "scudo", "libc_malloc",
    "GWP-ASan", "tcmalloc", "partition_alloc", "Go: heap", "dalvik-main space", "rpmalloc",
    "Heap Layer", "Python: arena",
)  # fmt: skip
_NAMED_STACKS = ("stack_and_tls", "thread signal stack", "glibc: pthread")
_NAMED_TLS = ("bionic TLS",)
_UNNAMED = {
    Kind.CODE: "code: made at run time, or", Kind.ANONYMOUS: "memory: anonymous, or",
    Kind.SHARED: "shared memory,",
}
_SHARED_PATHS = ("/dev/shm/", "/memfd:", "/SYSV", "/dev/zero", "/dev/ashmem", "/i915", "/drm mm")


def label_of(mapping: Mapping) -> Label:
    """The name of a mapping by /proc's, else that it has none."""
    kind, name = _by_path(mapping) if mapping.path else _without_path(mapping)
    evidence = f"its name is {mapping.path}" if mapping.path else "it has no name"
    return Label(mapping.start, mapping.end, kind, name, evidence)


def label_of_unnamed(mapping: Mapping) -> Label:
    """The same in a core without a note of mapped files: qemu-user's, or one that lost it.

    What has no name there may be a file's all the same.
    """
    label = label_of(mapping)
    if not mapping.path and label.kind in _UNNAMED:
        label.name = f"{_UNNAMED[label.kind]} of a file that the core does not name"
    return label


def _by_path(mapping: Mapping) -> tuple[str, str]:
    path = mapping.path
    if path in _KERNEL:
        return Kind.KERNEL, _KERNEL[path]
    if path == "[heap]":
        return Kind.HEAP, "heap (brk)"
    if path.startswith("[stack"):
        return Kind.STACK, "first stack" if path == "[stack]" else f"stack {path}"
    if path.startswith("[anon"):
        # prctl(PR_SET_VMA_ANON_NAME): the program itself gave the name.
        name = path.partition(":")[2].removesuffix("]")
        return _by_given_name(name.strip()), f'anonymous memory that the program calls "{name}"'
    base = path.removesuffix(" (deleted)").rpartition("/")[2]
    if "/tmpmap-" in path or path.startswith("/memfd:wine-mapping"):
        return Kind.SHARED, f"Wine section {base}"
    if path.startswith(_SHARED_PATHS):
        return Kind.SHARED, f"shared memory {path}"
    if path.startswith(("/dev/", "anon_inode:")):
        return Kind.DEVICE, f"device {path}"
    if "/locale/" in path or base == "locale-archive" or "/gconv/" in path:
        return Kind.LOCALE, f"locale {base}"
    if not path.startswith("/"):
        return Kind.FILE, f"mapped {path}"
    return Kind.FILE, f"file {base}"


def _by_given_name(name: str) -> str:
    for kind, starts in (
        (Kind.HEAP, _NAMED_HEAPS), (Kind.STACK, _NAMED_STACKS), (Kind.TLS, _NAMED_TLS)
    ):  # fmt: skip
        if name.startswith(starts):
            return kind
    return Kind.ANONYMOUS


def _without_path(mapping: Mapping) -> tuple[str, str]:
    flags = mapping.permissions
    if flags[:3] == "---":
        return Kind.RESERVED, "held without access"
    if flags[:3] == "?--":
        return Kind.RESERVED, "never written: held without access, or read only"
    if (mapping.start, mapping.end, flags[:3]) == (0, 0x1000, "r-x"):
        return Kind.ANONYMOUS, "page at 0 for programs that read there (MMAP_PAGE_ZERO)"
    if flags[2] == "x":
        return Kind.CODE, "anonymous code: made at run time (JIT, trampolines)"
    if flags[3] == "s":
        return Kind.SHARED, "anonymous shared memory"
    return Kind.ANONYMOUS, "anonymous memory"
