"""What must be on the Windows side of each of the zoo's stacks, innermost frame first.

The program's own functions follow from its source. Wine's are those of its source, as Debian's
compilers left them: where one is inlined or jumped to in some builds, the name ends with "?".
"""

from __future__ import annotations

from collections.abc import Sequence

from .flavours import Flavour
from .running import Thread
from .zoo import Variant

WAIT = ("NtWaitForMultipleObjects", "WaitForMultipleObjectsEx", "WaitForSingleObject")
PARK = (*WAIT, "park")
CALLBACK = (
    *("WINPROC_wrapper?", "call_window_proc", "WINPROC_CallProcWtoA", "dispatch_win_proc_params"),
    *("User32CallWindowProc", "dispatch_user_callback?", "KiUserCallbackDispatcher"),
)
WINDOW = ("NtUserCreateWindowEx", "WIN_CreateWindowEx", "CreateWindowExA", "make_window")
POOL = ("process_rtl_work_item", "tp_object_execute", "threadpool_worker_proc")

# By scenario: from where the thread is to SCENARIO_leaf.
ABOVE = {
    "wait_event": WAIT,
    "suspended_wait": WAIT,
    "thread_pool": WAIT,
    "timer_queue": WAIT,
    "fiber": WAIT,
    "main": WAIT,
    "sleep": ("NtDelayExecution", "Sleep"),
    "critsec_owner": PARK,
    "critsec": (
        *("NtWaitForAlertByThreadId", "RtlWaitOnAddress"),
        *("RtlpWaitForCriticalSection", "RtlEnterCriticalSection"),
    ),
    "message_loop": ("NtUserGetMessage", "GetMessageA"),
    "wndproc": (*PARK, "window_procedure", *CALLBACK, *WINDOW),
    "qsort": (*PARK, "qsort_compare", "compare_wrapper?", "quick_sort?", "qsort_s?", "qsort"),
    "timer": (
        *(*PARK, "timer_callback", "WINPROC_wrapper?", "call_window_proc"),
        *("dispatch_win_proc_params", "CallWindowProcA", "DispatchMessageA"),
    ),
    "abort": (*PARK, "abort_handler", "raise", "abort"),
    "vectored": (
        *(*PARK, "vectored_handler", "call_vectored_handlers?", "dispatch_exception"),
        "KiUserExceptionDispatcher",
    ),
    "cpp_destructor": (*PARK, "Parked::~Parked", "cpp_unwound"),
    "cpp_catch": PARK,
    "spin": (),
    "suspended_spin": (),
    "apc": (
        *(*PARK, "apc_callback", "call_user_apc?", "dispatch_apc?", "KiUserApcDispatcher"),
        *("NtDelayExecution", "SleepEx"),
    ),
    "unix_call": ("__wine_unix_spawnvp",),
    "load_library": ("load_dll", "LdrLoadDll", "load_library", "LoadLibraryExW", "LoadLibraryA?"),
    "first_chance": (),
    "second_chance": ("NtRaiseException", "dispatch_exception?", "KiUserExceptionDispatcher"),
}
SCENARIOS = (*(name for name in ABOVE if name != "main"), "null_deref", "raise", "seh")
THROWING = ("cpp_destructor", "cpp_catch")
# With one of these a debugger holds the whole process: all other threads are suspended.
DEBUGGED = ("first_chance", "second_chance")
# Where the function is not SCENARIO_leaf or SCENARIO_thread.
LEAVES = {
    **dict.fromkeys(("main", "suspended_wait", "thread_pool"), "wait_event_leaf"),
    **dict.fromkeys(("timer_queue", "fiber"), "wait_event_leaf"),
    "suspended_spin": "spin_leaf",
}
STARTS = {
    "thread_pool": ("thread_pool_work", *POOL),
    "timer_queue": ("timer_queue_callback", "timer_callback_wrapper", *POOL),
    "fiber": ("fiber_function", "start_fiber"),
}
# Between an exception and who handles it.
DISPATCH = {
    ("8.0", "x86_64"): ("call_stack_handlers", "dispatch_exception"),
    ("8.0", "i686"): ("call_exception_handler", "EXC_CallHandler", "dispatch_exception"),
    ("10.0", "x86_64"): ("call_seh_handler", "call_seh_handlers", "dispatch_exception"),
    ("10.0", "i686"): (
        *("call_exception_handler", "EXC_CallHandler"),
        *("call_seh_handlers", "dispatch_exception"),
    ),
}
UNHANDLED = {
    ("8.0", "x86_64"): ("call_unhandled_exception_filter", "__wine_exception_handler"),
    ("8.0", "i686"): ("call_unhandled_exception_filter", "__wine_exception_handler"),
    ("10.0", "x86_64"): ("call_unhandled_exception_handler",),
    ("10.0", "i686"): ("__wine_exception_handler",),
}
ENDS = {
    "x86_64": ("BaseThreadInitThunk", "RtlUserThreadStart"),
    "i686": ("BaseThreadInitThunk", "call_thread_func_wrapper", "call_thread_func"),
}


def scenarios(flavour: Flavour, variant: Variant, depths: Sequence[int]) -> list[str]:
    """Arguments for the zoo: every scenario once for each depth, as far as it can be repeated.

    Without those of DEBUGGED, which each need a process of their own.
    """
    found = [f"@wait_event:{depths[0]}", "critsec_owner:1"]
    left_out = {"critsec_owner", *DEBUGGED, *(() if variant.throws else THROWING)}
    for name in SCENARIOS:
        if name in left_out:
            continue
        if name == "load_library":
            # It holds the loader's lock, for which a second one would wait.
            found += [] if flavour.wow64 else [f"{name}:{depths[-1]}"]
        elif name == "spin":
            found.append(f"{name}:{depths[-1]}")  # each one takes all of a CPU
        elif name == "wndproc":
            found += [f"{name}:{depth}:{1 + index % 3}" for index, depth in enumerate(depths)]
        else:
            found += [f"{name}:{depth}" for depth in depths]
    return found


def expected(flavour: Flavour, thread: Thread) -> list[str]:
    """The functions on the Windows side of a thread's stack: of its 32-bit side under WoW64."""
    end = ENDS[flavour.machine] if thread.scenario != "fiber" else ()  # its stack begins there
    if thread.scenario == "reporter":
        return ["NtSignalAndWaitForSingleObject", "SignalObjectAndWait", "reporter_thread", *end]
    scenario = thread.scenario
    leaf = LEAVES.get(scenario, f"{scenario}_leaf")
    level = [leaf, *["recurse"] * thread.depth]
    inner = [*above(flavour, scenario), *level]
    if scenario == "wndproc":
        inner += ["window_procedure", *CALLBACK, *WINDOW, *level] * (thread.nesting - 1)
    start = STARTS.get(scenario, (f"{scenario}_thread",))
    if thread.main:
        start = ("main", "__tmainCRTStartup", *(("mainCRTStartup",) * (not is_32(flavour))))
    return [*inner, *start, *end]


def is_32(flavour: Flavour) -> bool:
    """Whether the program is 32-bit; mainCRTStartup ends with a jump there."""
    return flavour.machine == "i686"


def above(flavour: Flavour, scenario: str) -> Sequence[str]:
    key = flavour.version, flavour.machine
    dispatch, fault = DISPATCH[key], ("KiUserExceptionDispatcher",)
    unhandled = (*PARK, "unhandled_filter", "UnhandledExceptionFilter", *UNHANDLED[key], *dispatch)
    if scenario == "null_deref":
        return (*unhandled, *fault)
    if scenario == "raise":
        # x86-64 dispatches it where it is raised; i386 goes through the Unix side and back.
        by = fault if is_32(flavour) else ("RtlRaiseException",)
        return (*unhandled, *by, "RaiseException")
    if scenario == "seh":
        return (*PARK, "seh_handler", *dispatch, *fault, "seh_fault", "guarded")
    return ABOVE[scenario]


def callbacks(thread: Thread) -> int:
    """How often the Unix side called the Windows side back, and the thread is still in it."""
    return thread.nesting if thread.scenario == "wndproc" else 0


def mismatch(wanted: Sequence[str], found: Sequence[str]) -> str | None:
    """Where the functions of a stack differ from what must be on it; None if they do not."""
    position = 0
    for index, name in enumerate(found):
        while position < len(wanted) and not same(wanted[position], name):
            if not wanted[position].endswith("?"):
                break
            position += 1
        if position == len(wanted) or not same(wanted[position], name):
            where = wanted[position] if position < len(wanted) else "the end"
            return f"frame {index} is {name}, not {where}; before it: {list(found[:index])[-3:]}"
        position += 1
    missing = [name for name in wanted[position:] if not name.endswith("?")]
    return f"missing at the end: {missing}" if missing else None


def same(wanted: str, found: str) -> bool:
    """Whether a function has the wanted name; symbol tables decorate names of 32-bit code.

    A function that is nameless ("") can only be a static one of the C runtime, of which the PDB
    files that GNU ld writes say nothing.
    """
    wanted = wanted.removesuffix("?")
    if not found:
        return wanted == "__tmainCRTStartup"
    plain = found.partition("(")[0].partition(".")[0]
    bare = plain.partition("@")[0]
    return wanted in (plain, bare, bare.removeprefix("_"))
