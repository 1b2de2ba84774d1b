"""Architectures by their ELF machine; each is a table in a module of its own."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.arch.base import Arch

# e_machine values that people have cores of, for messages (elf.h).
_OTHER_MACHINES = {
    2: "SPARC", 8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 22: "s390x",
    43: "SPARC64", 50: "Itanium", 243: "RISC-V", 258: "LoongArch",
}  # fmt: skip

SUPPORTED = "x86-64, i386, aarch64 and arm"


def by_machine(machine: int, elf_class: int) -> Arch | None:
    """The architecture of an ELF header's `e_machine` and class, or None if we have none.

    Only the one that is asked for is imported. x32 (EM_X86_64 in a 32-bit ELF) is none.
    """
    if machine == 62 and elf_class == 2:
        from unspool.arch.x86_64 import X86_64

        return X86_64
    if machine == 3 and elf_class == 1:
        from unspool.arch.x86 import X86

        return X86
    if machine == 183 and elf_class == 2:
        from unspool.arch.aarch64 import AARCH64

        return AARCH64
    if machine == 40 and elf_class == 1:
        from unspool.arch.arm import ARM

        return ARM
    return None


def machine_name(machine: int, elf_class: int) -> str:
    """A name for people, also for machines that we do not support."""
    arch = by_machine(machine, elf_class)
    if arch is not None:
        return arch.name
    if machine == 62:
        return "x32 (x86-64 with 32-bit pointers)"
    return _OTHER_MACHINES.get(machine, f"unknown CPU (ELF machine {machine})")
