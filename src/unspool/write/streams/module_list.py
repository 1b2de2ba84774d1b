"""ModuleListStream: the program first, then all libraries, with what finds their symbols.

Code that the process has made is in no file: who reads the dump finds it as it was found here.
"""

from __future__ import annotations

from unspool.formats.minidump.structures import MODULE, MODULE_LIST
from unspool.generated.code import GENERATED_KINDS
from unspool.write.module_records import elf_record, pe_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.model import Module
    from unspool.write.draft import Draft
    from unspool.write.output import Output

_MAX_SIZE = (1 << 32) - 1


def write(draft: Draft, output: Output) -> bytes:
    """MINIDUMP_MODULE_LIST. Readers take the first module for the program."""
    modules = _program_first(draft)
    parts = [MODULE_LIST.pack(NumberOfModules=len(modules))]
    for module in modules:
        describe = pe_record if module.kind == "pe" else elf_record
        record = describe(draft, module)
        parts.append(
            MODULE.pack(
                BaseOfImage=module.base,
                SizeOfImage=min(record.size, _MAX_SIZE),
                CheckSum=record.checksum,
                TimeDateStamp=record.timestamp,
                ModuleNameRva=output.string(record.name),
                VersionInfo=record.version,
                CvRecord=output.location(record.codeview) if record.codeview else {},
            )
        )
    return b"".join(parts)


def _program_first(draft: Draft) -> list[Module]:
    """The modules by address, but for the program; under Wine the Windows program is meant."""
    modules = sorted(
        (each for each in draft.target.modules if each.kind not in GENERATED_KINDS), key=_base
    )
    executable = draft.target.info.executable
    program = next((each for each in modules if executable and each.path == executable), None)
    if program is not None:
        modules.remove(program)
        modules.insert(0, program)
    return modules


def _base(module: Module) -> int:
    return module.base
