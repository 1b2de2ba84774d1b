"""What of a process a report may hold: every class of data is in, hashed or out.

Nothing of the process's memory is in a report but names of code that it made itself, and these
only if that is wanted (docs/decisions/0033). Program counters and stack pointers are addresses;
but code that was led astray can have jumped anywhere, and returned to any word of its stack. So
an address that is in no mapping is left out, wherever it is written, but for that of the fault.
"""

from __future__ import annotations

from unspool.capture.config import IN, OUT
from unspool.model import Crash, Finding, Frame, Gap, Module, Segment, Stack, Stop, TargetInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from unspool.capture.config import Config
    from unspool.memory import Memory

_PAGE = 4096
# The end of a stack's mapping is where an empty stack begins; and some way below its mapping, in
# the gap that the kernel leaves there, is the pointer of one that ran over.
_NEAR = (-1, *(1 << bits for bits in range(12, 25)))


class Salt:
    """A secret of this device, made when it is first needed."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._value = b""

    def value(self) -> bytes:
        """Raises `OSError`, also if others could have read it."""
        import os
        import stat

        if self._value:
            return self._value
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.makedirs(os.path.dirname(self.path), 0o755, exist_ok=True)
            temporary = f"{self.path}.{os.getpid()}"
            if not os.path.exists(self.path):
                descriptor = os.open(temporary, flags, 0o600)
                with open(descriptor, "wb") as file:
                    file.write(os.urandom(32))
                try:
                    os.link(temporary, self.path)
                finally:
                    os.unlink(temporary)
        except FileExistsError:
            pass  # another handler was faster
        with open(self.path, "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
                raise PermissionError(f"{self.path} can be read by others")
            self._value = file.read(4096)
        if len(self._value) < 16:
            self._value = b""
            raise OSError(f"{self.path} is too short to be a secret")
        return self._value


class Policy:
    """Takes out of the parts of a report what the settings want out. `memory` tells addresses."""

    def __init__(self, config: Config, memory: Memory | None) -> None:
        self.config = config
        self.memory = memory
        self.salt = Salt(config.text("salt_file"))
        # Sentences of the walk and of findings name files.
        self.texts = config.text("paths") == IN and config.text("module_names") == IN
        self.has_code_names = config.text("code_names") != OUT

    def value(self, kind: str, value: str | None) -> str | None:
        """A text of the class `kind`, as the settings want it: itself, its hash, or None."""
        wanted = self.config.text(kind)
        if value is None or wanted == OUT:
            return None
        return value if wanted == IN else self.hash(value)

    def hash(self, value: str) -> str:
        """The same text of the same device has the same hash; nobody else can try values."""
        import hmac

        data = value.encode("utf-8", "surrogatepass")
        try:
            salt = self.salt.value()
        except OSError:
            return "hmac:unavailable"
        return f"hmac:{hmac.digest(salt, data, 'sha256').hex()[:16]}"

    def code_name(self, value: str | None) -> str | None:
        """A name of generated code, or of its source file, as the settings want it."""
        return self.value("code_names", value)

    def environment(self, variables: bytes | None) -> Mapping[str, str] | None:
        """Variables by name; hashed are their values, never their names."""
        if variables is None or self.config.text("environment") == OUT:
            return None
        found = {}
        for each in variables.split(b"\0"):
            name, equals, value = each.decode("utf-8", "replace").partition("=")
            if equals:
                found[name] = self.value("environment", value) or ""
        return found

    # --- parts of a report ----------------------------------------------------------------

    def target(self, info: TargetInfo) -> TargetInfo:
        arguments = info.command_line
        if arguments is not None:
            texts = [self.value("arguments", each) for each in arguments]
            arguments = [text for text in texts if text is not None] or None
        return TargetInfo(
            info.kind, info.arch, info.os,
            path=None, pid=info.pid, executable=self.value("paths", info.executable),
            command_line=arguments, wine=info.wine, captured_at=info.captured_at,
            truncated=info.truncated,
            system=info.system if self.config.text("system") == IN else None,
        )  # fmt: skip

    def crash(self, crash: Crash | None) -> Crash | None:
        if crash is None:
            return None
        address = crash.address if self.config.text("fault_address") == IN else None
        result = Crash(
            crash.signal, crash.number, crash.code, address, crash.thread_index, crash.sender_pid
        )
        result.access = crash.access
        return result

    def modules(self, modules: Iterable[Module]) -> list[Module]:
        from unspool.symbols.ids import debug_id

        result = []
        for module in modules:
            copy = module.copy()
            copy.file = None
            copy.path = self.value("paths", module.path)
            copy.debug_file = self.value("paths", module.debug_file)
            copy.pdb_name = self.value("module_names", module.pdb_name)
            if copy.debug_id is None and copy.code_id and module.kind in ("elf", "vdso"):
                copy.debug_id = debug_id(copy.code_id)
            if module.kind != "vdso":
                copy.name = self.value("module_names", module.name) or f"module {module.index}"
            if module.wasm is not None and module.wasm.modules:
                copy.wasm = module.wasm.copy()
                copy.wasm.modules = {
                    number: shown
                    for number, name in module.wasm.modules.items()
                    if (shown := self.value("module_names", name)) is not None
                }
            result.append(copy)
        return result

    def findings(self, findings: Iterable[Finding]) -> list[Finding]:
        return [
            Finding(
                each.kind,
                self.sentence(each.title) or each.kind.replace("_", " "),
                detail=self.sentence(each.detail),
                threads=each.threads,
                incomplete=each.incomplete,
            )
            for each in findings
        ]

    def stack(self, stack: Stack) -> Stack:
        frames = self._frames(stack.frames)
        segments = [
            Segment(each.kind, each.low, each.high, self.sentence(each.switch))
            for each in stack.segments
        ]
        stop = Stop(stack.stop.reason, self.sentence(stack.stop.detail) or "")
        gaps = [Gap(each.before, self.sentence(each.detail) or "") for each in stack.gaps]
        return Stack(
            stack.index, stack.tid, frames, segments, stop,
            name=self.value("thread_names", stack.name), crashed=stack.crashed, gaps=gaps,
            windows_tid=stack.windows_tid, subjects=stack.subjects if self.has_code_names else None,
        )  # fmt: skip

    def _frames(self, frames: Sequence[Frame]) -> list[Frame]:
        fault_in = self.config.text("fault_address") == IN
        result = []
        code = stack = range(0)
        for index, frame in enumerate(frames):
            # Most frames are where the one before was.
            if frame.lookup_pc in code and frame.sp in stack:
                result.append(frame)
                continue
            pc, sp = frame.pc, frame.sp
            code, stack = self._mapped(frame.lookup_pc), self._mapped(sp)
            if not code and not (index == 0 and fault_in):
                pc = 0
            if sp is not None and not stack and not self._is_near_stack(sp):
                sp = None
            if pc == frame.pc and sp == frame.sp:
                result.append(frame)
            else:
                result.append(Frame(pc, sp, frame.trust, frame.exact, frame.segment))
        return result

    def _mapped(self, address: int | None) -> range:
        """The mapped addresses around one that is, else none."""
        region = self.memory.region(address) if self.memory and address is not None else None
        return range(region.start, region.end) if region else range(0)

    def is_address(self, value: int) -> bool:
        """Whether a number is an address of something that is mapped."""
        return self.memory is not None and self.memory.region(value) is not None

    def _is_near_stack(self, sp: int) -> bool:
        # The end of a stack's mapping is where an empty stack begins.
        return any(self.is_address(sp + distance) for distance in _NEAR)

    def sentence(self, text: str | None) -> str | None:
        """A text of the walk: without addresses of nothing; None if it may name what is out."""
        if not text or not self.texts:
            return None
        if "0x" not in text:
            return text
        import re

        from unspool.wine.exceptions import NAMES

        def known(match: re.Match[str]) -> str:
            digits = match[0][2:]
            is_one = len(digits) <= 16 and self.is_address(int(digits, 16))
            value = int(digits[:17], 16)
            # Small numbers are sizes and offsets.
            return match[0] if is_one or value < _PAGE or value in NAMES else "0x…"

        return re.sub(r"0x[0-9a-fA-F]+", known, text)
