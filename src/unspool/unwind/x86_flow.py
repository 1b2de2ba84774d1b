"""Goes through i386 functions from their first instruction on, every way that leads on.

Without unwind data this tells whether an address belongs to a function, and where the return
address then is. Code is data to us: jumps of a fixed distance, and tables of jumps, are
followed; what else computes its target is the end of a way.
"""

from __future__ import annotations

from unspool.arch.x86_epilogue import epilogue
from unspool.arch.x86_length import instruction_length
from unspool.arch.x86_stack import ENTRY, StackState
from unspool.unwind.function_starts import ALIGNMENT, FRAME_MAKERS, is_padding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer
    from unspool.memory import Window
    from unspool.space import AddressSpace
    from unspool.unwind.call_targets import CallTargets

# Instructions of one function, and of all that are looked at for one target: some seconds.
_MAX_STEPS = 6000
_MAX_CALLEE = 600
_MAX_ALL_STEPS = 1_500_000
_MAX_REMEMBERED = 20_000
# A function's parts are near each other, but for what compilers think is never executed.
MAX_FUNCTION = 1 << 16
WHOLE = -1
_MAX_TABLE = 256
_NEAR = 0x800
_MAX_FOLLOWED = 3
_PAGE_BYTES = b"\0\x10\0\0"
_PREFIXES = b"\x26\x2e\x36\x3e\x64\x65\x66\xf0\xf2\xf3"
# Bytes of code behind a call that are looked through for what it does about the stack.
_AHEAD = 32
_CHANGING = frozenset((0xC2, 0xC3, 0xC9, 0xE8, 0xE9, 0xEB, 0xFF))
_ENDS = frozenset((0xCC, 0xF4, 0xEA, 0x9A, 0xCB, 0xCA, 0xCF))


class Flow:
    """What a function was found to do. `state`: at the address that was asked for, None if no
    way leads there. `popped`: bytes of arguments that its returns remove. `exits`: functions
    that it jumps to at its end. `broken`: it returns elsewhere than to its caller, or takes
    more off the stack than it put there: it does not start where we were told.
    """

    __slots__ = ("broken", "exits", "popped", "state")

    def __init__(self) -> None:
        self.state: StackState | None = None
        self.popped: set[int] = set()
        self.exits: set[int] = set()
        self.broken = False


class X86Flow:
    """Follows functions of one target; remembers what it has learned."""

    def __init__(self, space: AddressSpace, targets: CallTargets) -> None:
        self.space = space
        self.targets = targets
        self.room = _MAX_ALL_STEPS
        self._flows: dict[tuple[int, int, bool], Flow] = {}
        self._popped: dict[int, int | None] = {}

    def to(self, function: int, pc: int, exact: bool) -> Flow:
        """The function at an address, and the stack at `pc`: there, if that is exact, else at
        the call that ends there, whose arguments are still on the stack."""
        key = (function, pc, exact)
        flow = self._flows.get(key)
        if flow is None:
            if len(self._flows) >= _MAX_REMEMBERED:
                self._flows.clear()
            flow = self._flows[key] = Flow()
            _Walk(self, flow, function, pc, exact).run(_MAX_STEPS)
        return flow

    def whole(self, function: int) -> Flow:
        """The function at an address, all of it."""
        return self.to(function, WHOLE, True)

    def popped_by(self, function: int, depth: int = 0) -> int | None:
        """The bytes of arguments that a function takes off the stack; None if unknown."""
        if function not in self._popped:
            self._popped[function] = None  # what calls itself is asked no second time
            flow = Flow()
            _Walk(self, flow, function, None, True, depth).run(_MAX_CALLEE)
            result = max(flow.popped) if flow.popped else None
            if not flow.popped and len(flow.exits) == 1 and depth < _MAX_FOLLOWED:
                result = self.popped_by(min(flow.exits), depth + 1)
            self._popped[function] = result
        return self._popped[function]


class _Walk:
    """One way after the other through one function."""

    def __init__(
        self, owner: X86Flow, flow: Flow, start: int, pc: int | None, exact: bool, depth: int = 0
    ) -> None:
        self.owner = owner
        self.flow = flow
        self.start = start
        self.pc = pc
        self.exact = exact
        self.depth = depth
        self.seen: set[int] = set()
        self.highest = start
        self.ways: list[tuple[int, StackState]] = [(start, StackState())]
        self.window: Window | None = None

    def run(self, steps: int) -> None:
        steps = min(steps, self.owner.room)
        left = steps
        while self.ways and left > 0 and self.flow.state is None:
            # The nearest code first: what is asked for is seldom behind all branches.
            address, state = self.ways.pop()
            left = self._follow(address, state, left)
            if self.pc is None and self.flow.popped:
                break
        self.owner.room -= steps - left

    def _follow(self, address: int, state: StackState, left: int) -> int:
        while left > 0 and address not in self.seen:
            left -= 1
            self.seen.add(address)
            self.highest = max(self.highest, address)
            if self.exact and address == self.pc:
                self.flow.state = state
                break
            following = self._step(address, state)
            if following is None:
                break
            address = following
        return left

    def _step(self, address: int, state: StackState) -> int | None:
        """Carries out one instruction; the address of the next one, None at the end of a way."""
        window = self.window
        if window is None or not window.low <= address < window.high:
            if not self.owner.space.is_code(address):
                return None
            window = self.window = self.owner.space.memory.window(address)
            if window is None:
                return None
        code, at = window.buffer, address - window.base
        length = instruction_length(code, at)
        if not length or address + length > window.high:
            return None
        first = at
        while code[first] in _PREFIXES and first < at + length - 1:
            first += 1
        op = code[first]
        modrm = code[first + 1] if length > 1 else 0
        end = address + length
        if op == 0xE8 or (op == 0xFF and modrm & 0x38 == 0x10):
            return self._call(bytes(code[first : at + length]), end, state)
        if op in (0xC3, 0xC2):
            popped = int.from_bytes(bytes(code[first + 1 : first + 3]), "little")
            self.flow.popped.add(popped if op == 0xC2 else 0)
            if state.exact and state.esp[0] == ENTRY and state.esp[1] != 0:
                self.flow.broken = True
            return None
        if op in _ENDS or (op == 0x0F and modrm == 0x0B):
            return None
        if op in (0xE9, 0xEB):
            return self._jump(_relative(code, first + 1, at + length, end), state)
        if 0x70 <= op < 0x80 or 0xE0 <= op < 0xE4 or (op == 0x0F and modrm & 0xF0 == 0x80):
            where = first + (2 if op == 0x0F else 1)
            self._fork(_relative(code, where, at + length, end), state)
            return end
        if op == 0xFF and modrm & 0x38 == 0x20:
            self._computed_jump(bytes(code[first : at + length]), state)
            return None
        state.execute(code, at, length)
        if state.broken or (state.exact and state.esp[0] == ENTRY and state.esp[1] > 0):
            self.flow.broken = True
            return None
        return end

    def _fork(self, target: int, state: StackState) -> None:
        """Another way begins, where a conditional jump leads."""
        # Out of a function lead jumps to parts of it that lie elsewhere, and tail calls.
        if self.start - _NEAR < target < self.start:
            self.flow.broken = True
        if target not in self.seen:
            self.ways.append((target, state.copy()))

    # --- calls ---------------------------------------------------------------------------

    def _call(self, call: bytes, end: int, state: StackState) -> int | None:
        if not self.exact and end == self.pc:
            self.flow.state = state
            return None
        following = self.owner.space.memory.read_available(end, 2)
        target = self.owner.targets.of(end)
        makes_frame, room = self._helper(target, following, state)
        if makes_frame:
            state.call_making_frame()
            return end
        constant = state.constant
        if room is None:
            state.call(*self._popped(end, target, state))
        else:
            state.call(room, False)
            state.constant = constant
        return None if following[:1] == b"\xcc" or self._ends_at(end) else end

    def _ends_at(self, address: int) -> bool:
        """Whether the next function comes, behind code that does nothing.

        What follows the call of a function that does not return is never executed. But what
        begins there can be a loop, which is aligned likewise.
        """
        size = -address % ALIGNMENT
        code = self.owner.space.memory.read_available(address, size + 4)
        return size > 0 and code.startswith(FRAME_MAKERS, size) and is_padding(code[:size])

    def _helper(
        self, target: int | None, following: bytes, state: StackState
    ) -> tuple[bool, int | None]:
        """Whether the callee makes a frame for its caller; the stack that it takes for it."""
        if target is None:
            return False, None
        code = self.owner.space.memory.read_available(target, 40)
        for distance in (0x0C, 0x10):  # lea n(%esp),%ebp
            if b"\x8d\x6c\x24" + bytes([distance]) in code and b"\x64" in code:
                return True, None
        room = state.constant
        touches = code[:1] == b"\x51" and (code[1:4] == b"\x8d\x4c\x24" or _PAGE_BYTES in code)
        if room is not None and (touches or code.startswith(b"\x3d" + _PAGE_BYTES)):
            # __chkstk of MSVC and clang; GCC's leaves the subtraction to its caller.
            return False, 0 if following[:2] == b"\x29\xc4" else -room
        return False, None

    def _popped(self, end: int, target: int | None, state: StackState) -> tuple[int, bool]:
        """The bytes that a callee takes off the stack, and whether that is a guess."""
        if target is not None and self.depth < _MAX_FOLLOWED:
            popped = self.owner.popped_by(target, self.depth + 1)
            if popped is not None:
                return popped, False
        following = self.owner.space.memory.read_available(end, _AHEAD)
        if following[:2] in (b"\x83\xc4", b"\x81\xc4") or following[:1] == b"\x59":
            # The caller does that itself, or it is about to return.
            return 0, epilogue(following) is not None
        if not state.pushed:
            restored = _room_restored(following)
            return restored, not restored
        return state.pushed, True

    # --- jumps ---------------------------------------------------------------------------

    def _jump(self, target: int, state: StackState) -> int | None:
        """A jump inside of the function; or one to another, with the stack as it was."""
        leaves = state.esp == (ENTRY, 0) and not self.start < target < self.highest
        if leaves and target % 16 == 0:
            self.flow.exits.add(target)
            return None
        if self.start - _NEAR < target < self.start:
            self.flow.broken = True
        return target

    def _computed_jump(self, jump: bytes, state: StackState) -> None:
        """jmp *table(,%reg,4) of a switch; jmp *address of an imported function."""
        memory = self.owner.space.memory
        place = int.from_bytes(jump[-4:], "little")
        if jump[1] == 0x25:
            data = memory.read_available(place, 4)
            if len(data) == 4:
                self.flow.exits.add(int.from_bytes(data, "little"))
        elif jump[1] == 0x24 and len(jump) == 7 and jump[2] & 0xC7 == 0x85:
            data = memory.read_available(place, 4 * _MAX_TABLE)
            for at in range(0, len(data) - 3, 4):
                target = int.from_bytes(data[at : at + 4], "little")
                if abs(target - self.start) > MAX_FUNCTION:
                    break
                if target not in self.seen:
                    self.ways.append((target, state.copy()))


def _room_restored(code: bytes) -> int:
    """What is taken off the stack soon after a call: GCC keeps room for arguments all the time,
    and restores what a callee has removed. 0 if nothing is."""
    at = 0
    while at < len(code):
        op = code[at]
        if op in (0x81, 0x83) and code[at + 1 : at + 2] > b"\xc0" and code[at + 1] & 7 == 4:
            return code[at + 2] if code[at : at + 2] == b"\x83\xec" and len(code) > at + 2 else 0
        length = instruction_length(code, at)
        if not length or op in _CHANGING or 0x50 <= op < 0x60 or 0x70 <= op < 0x80:
            break
        at += length
    return 0


def _relative(code: Buffer, start: int, stop: int, end: int) -> int:
    distance = int.from_bytes(bytes(code[start:stop]), "little", signed=True)
    return (end + distance) & 0xFFFF_FFFF
