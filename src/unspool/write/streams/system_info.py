"""SystemInfoStream: processor and system, in the form that Breakpad gives it on Linux."""

from __future__ import annotations

from unspool.formats.minidump import names
from unspool.formats.minidump.structures import CPU_ARM, CPU_X86, SYSTEM_INFO
from unspool.formats.notes import AT_HWCAP, parse_auxv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.write.draft import Draft
    from unspool.write.output import Output

_ARCHITECTURES = {
    "x86": names.X86, "x86_64": names.AMD64, "aarch64": names.ARM64_OLD, "arm": names.ARM,
}  # fmt: skip
_MAX_PROCESSORS = 255
# Fields of /proc/cpuinfo that make up the main ID register: how far to the left, how many bits.
_ID_PARTS = (
    ("CPU implementer", 24, 8), ("CPU variant", 20, 4), ("CPU part", 4, 12), ("CPU revision", 0, 4),
)  # fmt: skip


def write(draft: Draft, output: Output) -> bytes:
    """MINIDUMP_SYSTEM_INFO. What is not known of the machine is zero."""
    facts, arch = draft.facts, draft.target.arch
    cpu = Processor(facts.cpu_info or b"")
    features = parse_auxv(arch, facts.auxv or b"").get(AT_HWCAP, 0) & 0xFFFFFFFF
    major, minor, build = facts.version or (0, 0, 0)
    # A core does not tell the kernel's machine, which need not be the process's.
    numbers = ".".join(str(number) for number in facts.version or ())
    system = facts.system or f"Linux {numbers}".rstrip()
    if arch.link is None:
        # Windows has another form for x86-64; Breakpad writes and reads this one on Linux.
        special = CPU_X86.pack(VendorId=cpu.vendor, FeatureInformation=features)
        level = cpu.number("cpu family")
        revision = cpu.number("model") << 8 & 0xFF00 | cpu.number("stepping") & 0xFF
    else:
        special = CPU_ARM.pack(CpuId=cpu.main_id(), ElfHwCaps=features)
        level, revision = cpu.number("CPU architecture"), 0
    return SYSTEM_INFO.pack(
        ProcessorArchitecture=_ARCHITECTURES[arch.report_name],
        ProcessorLevel=level & 0xFFFF,
        ProcessorRevision=revision,
        NumberOfProcessors=min(cpu.count, _MAX_PROCESSORS),
        MajorVersion=major & 0xFFFFFFFF,
        MinorVersion=minor & 0xFFFFFFFF,
        BuildNumber=build & 0xFFFFFFFF,
        PlatformId=names.LINUX,
        CSDVersionRva=output.string(system),
        Cpu=special,
    )


class Processor:
    """/proc/cpuinfo: a paragraph a processor. `count` is how many there are."""

    def __init__(self, text: bytes) -> None:
        self.fields: dict[str, str] = {}
        self.count = 0
        for line in text.decode("utf-8", "replace").splitlines():
            name, colon, value = line.partition(":")
            if colon:
                self.fields.setdefault(name.strip(), value.strip())
                self.count += name.strip() == "processor"

    @property
    def vendor(self) -> bytes:
        return self.fields.get("vendor_id", "").encode("ascii", "replace")[:12]

    def number(self, name: str) -> int:
        """A field's number, decimal or hexadecimal; 0 if there is none."""
        return _number(self.fields.get(name, ""))

    def main_id(self) -> int:
        """MIDR_EL1 out of its parts."""
        parts: Sequence[int] = [
            (self.number(name) & (1 << bits) - 1) << shift for name, shift, bits in _ID_PARTS
        ]
        return sum(parts)


def _number(text: str) -> int:
    try:
        return int(text, 16 if text.startswith("0x") else 10)
    except ValueError:
        return 0
