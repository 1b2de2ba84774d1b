"""Makes code with LLVM, by way of llvmlite, and waits or crashes in it.

    llvm_host.py COMPILER LEVELS [crash]

COMPILER is "mcjit", "orc" or "jitlink" (ORC with its other linker, which tells no debugger). In
each of LEVELS levels `outer` calls `middle`, and that `inner`, which calls back into this script;
that goes one level deeper. At the end it waits, or `inner` writes to address 8. Each function has
a frame of another size. Says "ready", and NAME=ADDRESS of each.
"""

from __future__ import annotations

import ctypes
import signal
import sys

import llvmlite.binding as llvm
from llvmlite import ir

NAMES = ("inner", "middle", "outer")
I64 = ir.IntType(64)
Made = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)


def compile_ir(compiler: str, callback: int, crash: bool) -> dict[str, int]:
    """The addresses of the functions."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(jit=True, codemodel="jitdefault")
    text = str(module(callback, crash))
    if compiler == "mcjit":
        made = llvm.create_mcjit_compiler(llvm.parse_assembly(text), machine)
        made.finalize_object()
        keep.append(made)
        return {name: made.get_function_address(name) for name in NAMES}
    linker = llvm.create_lljit_compiler(machine, use_jit_link=compiler == "jitlink")
    builder = llvm.JITLibraryBuilder().add_ir(text).add_current_process()
    for name in NAMES:
        builder.export_symbol(name)
    library = builder.link(linker, "made")
    keep.extend([linker, library])
    return {name: library[name] for name in NAMES}


def module(callback: int, crash: bool) -> ir.Module:
    made = ir.Module("made")
    made.triple = llvm.get_default_triple()
    callee = None
    for number, name in enumerate(NAMES):
        function = ir.Function(made, ir.FunctionType(I64, [I64]), name)
        function.attributes.add("noinline")
        builder = ir.IRBuilder(function.append_basic_block())
        room = builder.alloca(ir.ArrayType(I64, 8 << 3 * number))
        place = builder.gep(room, [I64(0), I64(3)])
        builder.store(function.args[0], place)
        if callee is None:
            back = builder.inttoptr(I64(callback), function.type)
            result = builder.call(back, [function.args[0]])
            if crash:
                nowhere = builder.inttoptr(I64(8), I64.as_pointer())
                builder.store(result, nowhere)
        else:
            result = builder.call(callee, [builder.sub(function.args[0], I64(1))])
        builder.ret(builder.add(result, builder.load(place)))
        callee = function
    return made


keep: list[object] = []


def main() -> None:
    compiler, levels, crash = sys.argv[1], int(sys.argv[2]), sys.argv[3:] == ["crash"]
    left = levels

    @Made
    def callback(number: int) -> int:
        nonlocal left
        left -= 1
        if left > 0:
            return int(call(number))
        if not crash:
            print("ready", *(f"{name}={address:#x}" for name, address in made.items()), flush=True)
            signal.pause()
        return number

    address = ctypes.cast(callback, ctypes.c_void_p).value
    assert address is not None
    made = compile_ir(compiler, address, crash)
    call = Made(made["outer"])
    call(1000)


main()
