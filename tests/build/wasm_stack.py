"""Stacks of Wasm code as each CPU's prologue leaves them: a model of the stores that it does.

Independent of `unspool.unwind.wasm_frames`, whose offsets come from Wasmtime's source: what is
here is what Cranelift's prologues and the ABIs of the CPUs say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

WORD = 8
SAVE_AREA = 160
SIGNATURE = 0x2A << 48  # of a return address, in the bits that no address has


@dataclass
class Machine:
    """Registers and stack of a thread; `fp` is what a runtime stores as the frame pointer."""

    high: int
    order: str = "little"
    memory: dict[int, int] = field(default_factory=dict)
    sp: int = 0
    fp: int = 0

    def __post_init__(self) -> None:
        self.sp = self.fp = self.high

    def read(self, address: int, size: int) -> bytes:
        words = range(address, address + size, WORD)
        # s390x: each function has room for what those save that it calls.
        if size % WORD or not self.sp <= address <= self.high + SAVE_AREA - size:
            raise ValueError(hex(address))
        return b"".join(
            self.memory.get(word, 0).to_bytes(WORD, "big" if self.order == "big" else "little")
            for word in words
        )


def call_x86_64(machine: Machine, back: int, size: int) -> None:
    """call; push %rbp; mov %rsp,%rbp; sub $size,%rsp."""
    machine.memory[machine.sp - 8] = back
    machine.memory[machine.sp - 16] = machine.fp
    machine.fp = machine.sp - 16
    machine.sp = machine.fp - size


def call_aarch64(machine: Machine, back: int, size: int) -> None:
    """bl; stp x29, x30, [sp, #-16]!; mov x29, sp; sub sp, sp, #size."""
    machine.memory[machine.sp - 16] = machine.fp
    machine.memory[machine.sp - 8] = back
    machine.fp = machine.sp - 16
    machine.sp = machine.fp - size


def call_aarch64_signed(machine: Machine, back: int, size: int) -> None:
    """The same after paciaz."""
    call_aarch64(machine, back | SIGNATURE, size)


def call_riscv64(machine: Machine, back: int, size: int) -> None:
    """jal; addi sp, sp, -16; sd ra, 8(sp); sd fp, 0(sp); mv fp, sp; addi sp, sp, -size."""
    machine.sp -= 16
    machine.memory[machine.sp + 8] = back
    machine.memory[machine.sp] = machine.fp
    machine.fp = machine.sp
    machine.sp -= size


def call_s390x(machine: Machine, back: int, size: int) -> None:
    """brasl %r14; stmg %r14,%r15,112(%r15); lgr %r1,%r15; aghi %r15,-size; stg %r1,0(%r15).

    The link register goes into the caller's register save area, and the back chain, which is
    the caller's stack pointer, to the bottom of the new frame.
    """
    machine.memory[machine.sp + 112] = back
    machine.memory[machine.sp + 120] = machine.sp
    machine.memory[machine.sp - (size + SAVE_AREA)] = machine.sp
    machine.fp = machine.sp
    machine.sp -= size + SAVE_AREA


CALLS: dict[str, tuple[str, Callable[[Machine, int, int], None]]] = {
    "x86-64": ("little", call_x86_64),
    "aarch64": ("little", call_aarch64),
    "aarch64 signed": ("little", call_aarch64_signed),
    "riscv64": ("little", call_riscv64),
    "s390x": ("big", call_s390x),
}


@dataclass(frozen=True)
class Activation:
    """An activation as the runtime hands it out: where it was left, the entry's frame pointer.

    `frames` are (pc, fp) as the walk must give them, newest first.
    """

    machine: Machine
    pc: int
    fp: int
    trampoline_fp: int
    frames: Sequence[tuple[int, int]]


def activation(cpu: str, pcs: Sequence[int], sizes: Sequence[int], high: int) -> Activation:
    """A native function, the entry trampoline, Wasm functions, the exit trampoline.

    `pcs` are where each Wasm function has called the next one, the oldest first.
    """
    order, call = CALLS[cpu]
    machine = Machine(high, order)
    machine.memory[machine.sp] = 0  # the back chain's end
    call(machine, 0x1000_0000, 64)  # native code calls the trampoline
    trampoline = machine.fp
    call(machine, 0x2000_0000, sizes[0] if sizes else 0)  # the trampoline calls Wasm code
    found = []
    for pc, size in zip(pcs, [*sizes[1:], 0], strict=False):
        found.append((pc, machine.fp))
        call(machine, pc, size)  # the last one calls the exit trampoline
    newest = found[-1] if found else (0x2000_0000, trampoline)
    return Activation(machine, newest[0], newest[1], trampoline, found[::-1])
