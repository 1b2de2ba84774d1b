"""Which instructions of x86 code read or write below the stack pointer?

Two ways lead there: an operand that names the stack pointer itself, `-8(%rsp)`, and one that
names a register that holds an address of the stack, `-4(%rbp)` in a function that has never
moved the stack pointer below its frame. For the latter, registers are followed from the
function's first instruction on, as distances from its CFA, in the order of addresses: what a
forward jump knew is kept for where it leads; after a jump, and where two ways disagree, call
frame information is asked.

Decoding is iced-x86's, which is optional: `available`.
"""

from __future__ import annotations

from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    # The CFA at an address: "sp" or "fp", and what to add to that register.
    CfaAt = Callable[[int], tuple[str, int] | None]
    State = dict[int, int]

# What is followed is dropped at a call: the callee may change the others (System V ABI, AMD64
# supplement, 3.2.1, and Intel386 supplement; Windows keeps these and more).
_KEPT_64 = ("RSP", "RBP", "RBX", "R12", "R13", "R14", "R15")
# A function that somebody claims to be larger is no function; decoding it takes minutes.
_MAX_CODE = 64 << 20


class Below(Record):
    """An operand that reaches below the stack pointer.

    `depth` is how far below its lowest byte lies, in bytes, `size` how many bytes there are
    (0: unknown), `access` "read", "write", "read and write", or "barrier" for what adds 0.
    `text` is the instruction.
    `evidence` is "operand" if it names the stack pointer; "indexed" if it does and adds a register
    to it, so that the depth is that of index 0, which may not occur; "cfi" if unwind data say
    where both registers point, "cfi and code" if it says it of one and the instructions before of
    the other, "code" if there is nothing but these.
    """

    __slots__ = ("access", "address", "depth", "evidence", "size", "text")

    def __init__(
        self, address: int, depth: int, size: int, access: str, evidence: str, text: str
    ) -> None:
        self.address = address
        self.depth = depth
        self.size = size
        self.access = access
        self.evidence = evidence
        self.text = text


def available() -> bool:
    """Whether iced-x86 is installed."""
    try:
        import iced_x86  # noqa: F401
    except ImportError:
        return False
    return True


def below_stack(
    code: bytes,
    address: int,
    *,
    bits: int = 64,
    cfa_at: CfaAt | None = None,
    is_whole: bool = True,
) -> list[Below]:
    """The operands below the stack pointer in one function's `code`, which starts at `address`.

    `bits` is 64 or 32. `cfa_at` answers from call frame information, if there is any. Without
    `is_whole` this is a part that is jumped to: what the stack pointer is there is unknown.
    Push, pop, call and return use the stack as they should and do not count.
    """
    return _Function(_Tables.of(bits), code[:_MAX_CODE], address, cfa_at, is_whole).run()


def is_interrupt_handler(code: bytes, bits: int) -> bool:
    """Whether a function returns by iret, as GCC's `__attribute__((interrupt))` makes it."""
    from iced_x86 import Decoder, Mnemonic

    returns = (Mnemonic.IRET, Mnemonic.IRETD, Mnemonic.IRETQ)
    return any(each.mnemonic in returns for each in Decoder(bits, code[:_MAX_CODE]))


class _Tables:
    """Names of iced-x86 as numbers, for one width of code."""

    _made: dict[int, _Tables] = {}  # noqa: RUF012

    @classmethod
    def of(cls, bits: int) -> _Tables:
        if bits not in cls._made:
            cls._made[bits] = cls(bits)
        return cls._made[bits]

    def __init__(self, bits: int) -> None:
        import iced_x86 as x86
        from iced_x86 import FlowControl, Mnemonic, Register, RegisterExt

        self.bits = bits
        self.word = bits // 8
        self.x86 = x86
        wide = bits == 64
        self.sp, self.fp = (Register.RSP, Register.RBP) if wide else (Register.ESP, Register.EBP)
        extension: Any = RegisterExt  # its stubs want the enumeration, which its code is not
        full = extension.full_register if wide else extension.full_register32
        numbers = range(Register.AL, (Register.R15 if wide else Register.EDI) + 1)
        self.full = {number: full(number) for number in numbers}
        names = _KEPT_64 if wide else ("EBP", "EBX", "ESI", "EDI")
        self.kept = frozenset(getattr(Register, name) for name in names)
        self.segments = (Register.FS, Register.GS)
        self.mov, self.lea, self.add, self.sub, self.leave = (
            Mnemonic.MOV, Mnemonic.LEA, Mnemonic.ADD, Mnemonic.SUB, Mnemonic.LEAVE,
        )  # fmt: skip
        self.push, self.pop = Mnemonic.PUSH, Mnemonic.POP
        self.keeps = (Mnemonic.ADD, Mnemonic.OR, Mnemonic.XOR, Mnemonic.SUB)
        self.reads_first = frozenset((Mnemonic.CMP, Mnemonic.TEST, Mnemonic.PUSH, Mnemonic.CALL,
                                      Mnemonic.JMP, Mnemonic.BT))  # fmt: skip
        # They write registers that they do not name.
        implicit = (
            "MUL DIV IDIV IMUL CPUID RDTSC RDTSCP SYSCALL CQO CDQ CDQE CWDE CWD CBW XGETBV LODSB "
            "LODSD LODSQ MOVSB MOVSD MOVSQ STOSB STOSD STOSQ SCASB SCASD CMPSB CMPSD CMPXCHG "
            "CMPXCHG8B CMPXCHG16B XADD XCHG MULX INT SYSENTER LOOP RDPMC RDMSR"
        )
        self.implicit = frozenset(getattr(Mnemonic, name) for name in implicit.split())
        flow = FlowControl
        self.next, self.jump, self.branch = (
            flow.NEXT, flow.UNCONDITIONAL_BRANCH, flow.CONDITIONAL_BRANCH
        )  # fmt: skip
        self.calls = (flow.CALL, flow.INDIRECT_CALL)
        self.ends = (flow.RETURN, flow.INDIRECT_BRANCH, flow.EXCEPTION)
        self.register_kind = x86.OpKind.REGISTER
        self.info = x86.InstructionInfoFactory()
        self.formatter = x86.Formatter(x86.FormatterSyntax.GAS)
        self.formatter.space_after_operand_separator = False


class _Function:
    """One pass over a function. `state` has the followed registers' distances from the CFA."""

    def __init__(
        self, tables: _Tables, code: bytes, address: int, cfa_at: CfaAt | None, is_whole: bool
    ) -> None:
        self.tables = tables
        self.code = code
        self.address = address
        self.cfa_at = cfa_at
        self.found: list[Below] = []
        self.joins: dict[int, State] = {}
        # A call has left the return address below the CFA, which is where the caller's end was.
        self.state: State | None = self.by_cfi(address)
        if not self.state and is_whole:
            self.state = {tables.sp: -tables.word}

    def run(self) -> list[Below]:
        t = self.tables
        sp, plain, registers = t.sp, t.next, t.register_kind
        joins, full = self.joins, t.full
        for ins in t.x86.Decoder(t.bits, self.code, ip=self.address):
            if joins and ins.ip in joins:
                self.join(joins.pop(ins.ip), ins.ip)
            state = self.state
            if state is None:
                state = self.state = self.by_cfi(ins.ip)
            base = ins.memory_base
            if base and (base == sp or base in state):
                self.operand(ins, base, state)
            if ins.op0_kind == registers:
                register = full.get(ins.op0_register)
                if register == sp or register in state or base in state or ins.op_count == 2:
                    self.register(ins, register, state)
            if ins.is_stack_instruction:
                self.stack(ins, state)
            if ins.flow_control != plain:
                self.flow(ins, state)
            elif len(state) > 1 and ins.mnemonic in t.implicit:
                self.call(state)
        return self.found

    # --- what an instruction does -------------------------------------------------------

    def register(self, ins: Any, register: int | None, state: State) -> None:
        """An instruction whose first operand is a register, which it most likely writes."""
        t = self.tables
        mnemonic = ins.mnemonic
        if register is None or mnemonic in t.reads_first or ins.is_stack_instruction:
            return
        value = None
        second = ins.op1_kind if ins.op_count > 1 else None
        exact = full_width = register == ins.op0_register
        if mnemonic == t.mov and second == t.register_kind and exact:
            value = state.get(ins.op1_register)
        elif mnemonic == t.lea and full_width and not ins.memory_index:
            value = state.get(ins.memory_base)
            if value is not None:
                value += _signed(ins.memory_displacement, t.bits)
        elif mnemonic in (t.add, t.sub) and register in state and second != t.register_kind:
            by = _immediate(ins, t.bits)
            if by is not None:
                value = state[register] + (by if mnemonic == t.add else -by)
        if value is not None:
            state[register] = value
        else:
            state.pop(register, None)

    def stack(self, ins: Any, state: State) -> None:
        """Push, pop, leave; calls leave the stack as it was."""
        t = self.tables
        if ins.mnemonic == t.leave:
            frame = state.pop(t.fp, None)
            state.pop(t.sp, None)
            if frame is not None:
                state[t.sp] = frame + t.word
            return
        if ins.flow_control in t.calls:
            return
        by = ins.stack_pointer_increment
        if by and t.sp in state:
            state[t.sp] += by
        else:
            state.pop(t.sp, None)  # enter, and what does not say by how much
        if ins.mnemonic == t.pop and ins.op0_kind == t.register_kind:
            state.pop(t.full.get(ins.op0_register, 0), None)

    def flow(self, ins: Any, state: State) -> None:
        t = self.tables
        flow = ins.flow_control
        if flow in t.calls:
            self.call(state)
            if t.bits == 32:
                state.pop(t.sp, None)  # stdcall: the callee takes its arguments off
        elif flow in (t.jump, t.branch):
            to = ins.near_branch_target
            if ins.ip < to < self.address + len(self.code):
                known = self.joins.get(to)
                self.joins[to] = dict(state) if known is None else _common(known, state)
            if flow == t.jump:
                self.state = None
        elif flow in t.ends:
            self.state = None

    def call(self, state: State) -> None:
        kept = self.tables.kept
        for register in [each for each in state if each not in kept]:
            if register != self.tables.sp:
                del state[register]

    def join(self, other: State, address: int) -> None:
        """Two ways meet: the one that leads here by jumps, and the instruction before."""
        sp = self.tables.sp
        if self.state is None:
            self.state = other
            return
        both = _common(self.state, other)
        if sp not in both:
            # What seems to lead here may be a call that never returns.
            both = self.by_cfi(address)
            for way in (other, self.state):
                if both.items() <= way.items() and both:
                    both = dict(way)
                    break
        self.state = both

    def by_cfi(self, address: int) -> State:
        """What call frame information says of the stack pointer or the frame pointer."""
        row = self.cfa_at(address) if self.cfa_at else None
        if row is None:
            return {}
        return {self.tables.sp if row[0] == "sp" else self.tables.fp: -row[1]}

    # --- findings -----------------------------------------------------------------------

    def operand(self, ins: Any, base: int, state: State) -> None:
        t = self.tables
        if ins.memory_segment in t.segments or (ins.memory_index and base != t.sp):
            return
        place = _signed(ins.memory_displacement, t.bits)
        evidence = "indexed" if ins.memory_index else "operand"
        if base != t.sp:
            if t.sp not in state or state[base] + place >= state[t.sp]:
                return
            place += state[base] - state[t.sp]
            checked = self.checked(ins.ip, state)
            if checked is None:
                return
            evidence = checked
        if place >= 0:
            return
        access = "barrier" if self.is_barrier(ins) else self.access(ins)
        if access:
            size = t.x86.MemorySizeExt.size(ins.memory_size)
            text = t.formatter.format(ins)
            self.found.append(Below(ins.ip, -place, size, access, evidence, text))

    def checked(self, address: int, state: State) -> str | None:
        """What call frame information adds to what was followed; None if it says otherwise."""
        said = self.by_cfi(address)
        if not said:
            return "code"
        ((register, value),) = said.items()
        if state.get(register, value) != value:
            self.state = said
            state.clear()
            state.update(said)
            return None
        return "cfi" if register == self.tables.sp else "cfi and code"

    def is_barrier(self, ins: Any) -> bool:
        """Whether this adds 0 to whatever is there: no byte changes, and none is used.

        With a lock prefix it is Linux's smp_mb() on x86-64, `lock addl $0,-4(%rsp)`, below the
        stack pointer so that it waits for nothing on the stack (kernel:
        arch/x86/include/asm/barrier.h). Without one it is a probe that has a page of the stack
        mapped before the stack pointer gets there: `orq $0,(%rcx)` of MinGW's ___chkstk_ms.
        """
        t = self.tables
        return ins.mnemonic in t.keeps and _immediate(ins, t.bits) == 0

    def access(self, ins: Any) -> str:
        """Whether the memory operand is read or written; empty for lea, nop and prefetches."""
        x86 = self.tables.x86
        info = self.tables.info.info(ins)
        for index in range(ins.op_count):
            if ins.op_kind(index) == x86.OpKind.MEMORY:
                return _ACCESS.get(_access_name(x86, info.op_access(index)), "")
        return ""


_ACCESS = {
    "READ": "read", "COND_READ": "read", "WRITE": "write", "COND_WRITE": "write",
    "READ_WRITE": "read and write", "READ_COND_WRITE": "read and write",
}  # fmt: skip


def _access_name(x86: Any, number: int) -> str:
    for name in _ACCESS:
        if getattr(x86.OpAccess, name) == number:
            return name
    return ""


def _immediate(ins: Any, bits: int) -> int | None:
    try:
        return _signed(ins.immediate(1), bits)
    except ValueError:
        return None


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _common(one: State, other: State) -> State:
    return {register: at for register, at in one.items() if other.get(register) == at}
