"""Data table: structures that Breakpad, Crashpad and Mozilla add to Microsoft's.

Sources: Breakpad's minidump_format.h, Crashpad's minidump_extensions.h, rust-minidump's format.
A row is name, type, how to show it, meaning (`layout.Field`).
"""

from __future__ import annotations

from unspool.formats.minidump.layout import Layout
from unspool.formats.minidump.structures import LOCATION

BREAKPAD_INFO = Layout(
    "MDRawBreakpadInfo",
    "whose request the dump was",
    (
        ("validity", "u32", "flags:BREAKPAD_INFO", "which fields are valid"),
        ("dump_thread_id", "u32", "dec", "the thread that wrote the dump"),
        ("requesting_thread_id", "u32", "dec", "the thread that asked for it"),
    ),
)

ASSERTION_INFO = Layout(
    "MDRawAssertionInfo",
    "an assertion that failed",
    (
        ("expression", "wide[128]", "text", "what is not true"),
        ("function", "wide[128]", "text", "in which function"),
        ("file", "wide[128]", "text", "in which file"),
        ("line", "u32", "dec", "in which line"),
        ("type", "u32", "enum:ASSERTION_TYPE", "what noticed it"),
    ),
)

DSO_DEBUG32 = Layout(
    "MDRawDebug32",
    "r_debug of the dynamic linker; the dynamic section follows",
    (
        ("version", "u32", "dec", "r_version"),
        ("map", "u32", "rva:MDRawLinkMap32", "where the copied list of modules is"),
        ("dso_count", "u32", "count", "how many modules it has"),
        ("brk", "u32", "address", "r_brk: the function that debuggers stop in"),
        ("ldbase", "u32", "address", "r_ldbase: where the dynamic linker is"),
        ("dynamic", "u32", "address", "_DYNAMIC of the executable"),
    ),
)

DSO_DEBUG64 = Layout(
    "MDRawDebug64",
    "r_debug of the dynamic linker; the dynamic section follows",
    (
        ("version", "u32", "dec", "r_version"),
        ("map", "u32", "rva:MDRawLinkMap64", "where the copied list of modules is"),
        ("dso_count", "u32", "count", "how many modules it has"),
        ("__alignment", "u32", "reserved", "unused"),
        ("brk", "u64", "address", "r_brk: the function that debuggers stop in"),
        ("ldbase", "u64", "address", "r_ldbase: where the dynamic linker is"),
        ("dynamic", "u64", "address", "_DYNAMIC of the executable"),
    ),
)

LINK_MAP32 = Layout(
    "MDRawLinkMap32",
    "a module of the dynamic linker's list",
    (
        ("addr", "u32", "hex", "l_addr: what its addresses are moved by"),
        ("name", "u32", "rva:MINIDUMP_STRING", "where its path is"),
        ("ld", "u32", "address", "l_ld: its dynamic section"),
    ),
)

LINK_MAP64 = Layout(
    "MDRawLinkMap64",
    "a module of the dynamic linker's list",
    (
        ("addr", "u64", "hex", "l_addr: what its addresses are moved by"),
        ("name", "u32", "rva:MINIDUMP_STRING", "where its path is"),
        ("__alignment", "u32", "reserved", "unused"),
        ("ld", "u64", "address", "l_ld: its dynamic section"),
    ),
)

# Breakpad writes the structures as its compiler lays them out, Rust's minidump-writer packed.
DSO_DEBUG64_PACKED = Layout(
    "DSO_DEBUG_64",
    "r_debug of the dynamic linker, packed; the dynamic section follows",
    (
        ("version", "u32", "dec", "r_version"),
        ("map", "u32", "rva:LINK_MAP_64", "where the copied list of modules is"),
        ("dso_count", "u32", "count", "how many modules it has"),
        ("brk", "u64", "address", "r_brk: the function that debuggers stop in"),
        ("ldbase", "u64", "address", "r_ldbase: where the dynamic linker is"),
        ("dynamic", "u64", "address", "_DYNAMIC of the executable"),
    ),
)

LINK_MAP64_PACKED = Layout(
    "LINK_MAP_64",
    "a module of the dynamic linker's list, packed",
    (
        ("addr", "u64", "hex", "l_addr: what its addresses are moved by"),
        ("name", "u32", "rva:MINIDUMP_STRING", "where its path is"),
        ("ld", "u64", "address", "l_ld: its dynamic section"),
    ),
)

AUXV32 = Layout(
    "Elf32_auxv_t",
    "a word of the auxiliary vector",
    (
        ("a_type", "u32", "enum:AT", "what it is"),
        ("a_val", "u32", "hex", "the word"),
    ),
)

AUXV64 = Layout(
    "Elf64_auxv_t",
    "a word of the auxiliary vector",
    (
        ("a_type", "u64", "enum:AT", "what it is"),
        ("a_val", "u64", "hex", "the word"),
    ),
)

# The bytes follow, and a NUL that Length does not count.
UTF8_STRING = Layout(
    "MinidumpUTF8String",
    "a string in UTF-8",
    (("Length", "u32", "size", "bytes of the string without its NUL"),),
)

BYTE_ARRAY = Layout(
    "MinidumpByteArray",
    "bytes",
    (("length", "u32", "size", "number of bytes that follow"),),
)

RVA_LIST = Layout(
    "MinidumpRVAList",
    "a list of strings",
    (("count", "u32", "count", "how many RVAs follow"),),
)

RVA = Layout("RVA", "a place in the file", (("Rva", "u32", "rva:MinidumpUTF8String", "a string"),))

STRING_DICTIONARY = Layout(
    "MinidumpSimpleStringDictionary",
    "pairs of strings",
    (("count", "u32", "count", "how many pairs follow"),),
)

STRING_DICTIONARY_ENTRY = Layout(
    "MinidumpSimpleStringDictionaryEntry",
    "a pair of strings",
    (
        ("key", "u32", "rva:MinidumpUTF8String", "the name"),
        ("value", "u32", "rva:MinidumpUTF8String", "the value"),
    ),
)

ANNOTATION_LIST = Layout(
    "MinidumpAnnotationList",
    "notes that a program has left",
    (("count", "u32", "count", "how many follow"),),
)

ANNOTATION = Layout(
    "MinidumpAnnotation",
    "a note that a program has left",
    (
        ("name", "u32", "rva:MinidumpUTF8String", "its name"),
        ("type", "u16", "enum:ANNOTATION_TYPE", "what the value is"),
        ("reserved", "u16", "reserved", "unused"),
        ("value", "u32", "rva:MinidumpByteArray", "its value"),
    ),
)

MODULE_CRASHPAD_INFO = Layout(
    "MinidumpModuleCrashpadInfo",
    "what a module has left for Crashpad",
    (
        ("version", "u32", "dec", "1"),
        ("list_annotations", LOCATION, "to:MinidumpRVAList", "lines"),
        ("simple_annotations", LOCATION, "to:MinidumpSimpleStringDictionary", "names and values"),
        ("annotation_objects", LOCATION, "to:MinidumpAnnotationList", "values with a type"),
    ),
)

MODULE_CRASHPAD_INFO_LINK = Layout(
    "MinidumpModuleCrashpadInfoLink",
    "a module that has left something for Crashpad",
    (
        ("minidump_module_list_index", "u32", "dec", "which module of the module list"),
        ("location", LOCATION, "to:MinidumpModuleCrashpadInfo", "what it has left"),
    ),
)

MODULE_CRASHPAD_INFO_LIST = Layout(
    "MinidumpModuleCrashpadInfoList",
    "modules that have left something for Crashpad",
    (("count", "u32", "count", "how many follow"),),
)

CRASHPAD_INFO = Layout(
    "MinidumpCrashpadInfo",
    "what Crashpad adds to a dump",
    (
        ("version", "u32", "dec", "1"),
        ("report_id", "guid", "guid", "this report"),
        ("client_id", "guid", "guid", "this installation"),
        ("simple_annotations", LOCATION, "to:MinidumpSimpleStringDictionary", "names and values"),
        ("module_list", LOCATION, "to:MinidumpModuleCrashpadInfoList", "what modules have left"),
        ("reserved", "u32", "reserved", "unused"),
        ("address_mask", "u64", "hex", "bits of pointers that are no address (PAC, tags)"),
    ),
)

MAC_CRASH_INFO = Layout(
    "MINIDUMP_MAC_CRASH_INFO",
    "__crash_info sections of macOS",
    (
        ("stream_type", "u32", "hex", "the stream's type again"),
        ("record_count", "u32", "count", "how many records are valid"),
        ("record_start_size", "u32", "size", "bytes of a record before its strings"),
        ("records", (LOCATION, 20), "to:MINIDUMP_MAC_CRASH_INFO_RECORD", "the records"),
    ),
)

MAC_CRASH_INFO_RECORD = Layout(
    "MINIDUMP_MAC_CRASH_INFO_RECORD",
    "what a library of macOS has left; its strings follow",
    (
        ("stream_type", "u64", "hex", "the stream's type again"),
        ("version", "u64", "dec", "version of the record"),
        ("thread", "u64", "hex", "the thread"),
        ("dialog_mode", "u64", "dec", "what to show to the user"),
        ("abort_cause", "u64", "hex", "why it gave up"),
    ),
)

MAC_BOOTARGS = Layout(
    "MINIDUMP_MAC_BOOTARGS",
    "arguments of the kernel of macOS",
    (
        ("stream_type", "u32", "hex", "the stream's type again"),
        ("bootargs", "u64", "rva:MINIDUMP_STRING", "where they are"),
    ),
)
