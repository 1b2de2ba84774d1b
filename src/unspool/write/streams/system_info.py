"""SystemInfoStream: processor and system, in the form that Breakpad gives it on Linux."""

from __future__ import annotations

from unspool.formats.cpuinfo import Processor
from unspool.formats.minidump import names
from unspool.formats.minidump.structures import CPU_ARM, CPU_X86, SYSTEM_INFO
from unspool.formats.notes import AT_HWCAP, parse_auxv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.write.draft import Draft
    from unspool.write.output import Output

_ARCHITECTURES = {
    "x86": names.X86, "x86_64": names.AMD64, "aarch64": names.ARM64_OLD, "arm": names.ARM,
}  # fmt: skip
_MAX_PROCESSORS = 255


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
