/* Threads whose whole stacks are known, one for each argument.

   An argument is SCENARIO:DEPTH or SCENARIO:DEPTH:NESTING. A thread SCENARIO_thread calls
   `recurse` DEPTH times inside itself, and the innermost calls SCENARIO_leaf, which gets the
   thread to where it stays. An argument that starts with @ is for the main thread.

   What it says on its standard output, and what it waits for on its standard input:

       thread LINUX-ID WINDOWS-ID SCENARIO DEPTH NESTING      for each thread
       placed              every thread has only its last call to make
       (a line is read)    by now they have made it: the reader looked at /proc
       ready               the threads to be suspended are suspended; those that can do their
                           last call only now do it
*/

#include "zoo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

HANDLE forever, line_read;
static DWORD slot;
static volatile DWORD held;

FRAME DWORD hold(DWORD result)
{
    held = result;
    return result;
}

FRAME int recurse(struct work *work, int depth)
{
    volatile int local[4] = {depth, depth + 1, depth + 2, depth + 3};
    int below = depth > 1 ? recurse(work, depth - 1) : work->bottom(work);
    return below + local[depth & 3];
}

/* The kernel's own number of this thread, which no Windows function tells. */
static long linux_id(void)
{
#ifdef __x86_64__
    long result = 186; /* gettid */
    __asm__ volatile("syscall" : "+a"(result) : : "rcx", "r11", "memory");
#else
    long result = 224;
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory");
#endif
    return result;
}

FRAME void enter(struct work *work)
{
    TlsSetValue(slot, work);
    work->windows_id = GetCurrentThreadId();
    work->linux_id = linux_id();
}

FRAME struct work *current(void)
{
    return TlsGetValue(slot);
}

FRAME void place(struct work *work)
{
    InterlockedExchange(&work->placed, 1);
}

FRAME int park(struct work *work)
{
    place(work);
    return (int)hold(WaitForSingleObject(forever, INFINITE));
}

#define THREAD(scenario) \
    FRAME DWORD WINAPI scenario##_thread(void *argument) \
    { \
        struct work *work = argument; \
        enter(work); \
        return hold((DWORD)recurse(work, work->depth)); \
    }

THREAD(wait_event)
THREAD(sleep)
THREAD(critsec)
THREAD(critsec_owner)
THREAD(message_loop)
THREAD(wndproc)
THREAD(qsort)
THREAD(timer)
THREAD(abort)
THREAD(null_deref)
THREAD(raise)
THREAD(vectored)
THREAD(seh)
THREAD(first_chance)
THREAD(second_chance)
#ifndef NO_THROWS
THREAD(cpp_destructor)
THREAD(cpp_catch)
#endif
THREAD(spin)
THREAD(suspended_spin)
THREAD(suspended_wait)
THREAD(apc)
THREAD(unix_call)
THREAD(load_library)

FRAME DWORD WINAPI thread_pool_work(void *argument)
{
    struct work *work = argument;
    enter(work);
    return hold((DWORD)recurse(work, work->depth));
}

FRAME void CALLBACK timer_queue_callback(void *argument, BOOLEAN fired)
{
    struct work *work = argument;
    enter(work);
    hold((DWORD)recurse(work, work->depth) + fired);
}

FRAME void CALLBACK fiber_function(void *argument)
{
    struct work *work = argument;
    enter(work);
    hold((DWORD)recurse(work, work->depth));
}

/* The thread leaves its stack for another, on which nothing leads back. */
FRAME DWORD WINAPI fiber_thread(void *argument)
{
    ConvertThreadToFiber(NULL);
    SwitchToFiber(CreateFiber(0, fiber_function, argument));
    return hold(0);
}

static void start_thread_pool(struct work *work)
{
    QueueUserWorkItem(thread_pool_work, work, WT_EXECUTELONGFUNCTION);
}

static void start_timer_queue(struct work *work)
{
    HANDLE timer;
    CreateTimerQueueTimer(&timer, NULL, timer_queue_callback, work, 1, 0, WT_EXECUTEONLYONCE);
}

static const struct scenario {
    const char *name;
    scenario_function bottom;
    thread_function thread;
    void (*start)(struct work *);
    int suspend;
} scenarios[] = {
    {"wait_event", wait_event_leaf, wait_event_thread, NULL, 0},
    {"sleep", sleep_leaf, sleep_thread, NULL, 0},
    {"critsec_owner", critsec_owner_leaf, critsec_owner_thread, NULL, 0},
    {"critsec", critsec_leaf, critsec_thread, NULL, 0},
    {"message_loop", message_loop_leaf, message_loop_thread, NULL, 0},
    {"wndproc", wndproc_leaf, wndproc_thread, NULL, 0},
    {"qsort", qsort_leaf, qsort_thread, NULL, 0},
    {"thread_pool", wait_event_leaf, NULL, start_thread_pool, 0},
    {"timer", timer_leaf, timer_thread, NULL, 0},
    {"timer_queue", wait_event_leaf, NULL, start_timer_queue, 0},
    {"abort", abort_leaf, abort_thread, NULL, 0},
    {"null_deref", null_deref_leaf, null_deref_thread, NULL, 0},
    {"raise", raise_leaf, raise_thread, NULL, 0},
    {"vectored", vectored_leaf, vectored_thread, NULL, 0},
    {"seh", seh_leaf, seh_thread, NULL, 0},
    {"first_chance", first_chance_leaf, first_chance_thread, NULL, 0},
    {"second_chance", second_chance_leaf, second_chance_thread, NULL, 0},
#ifndef NO_THROWS
    {"cpp_destructor", cpp_destructor_leaf, cpp_destructor_thread, NULL, 0},
    {"cpp_catch", cpp_catch_leaf, cpp_catch_thread, NULL, 0},
#endif
    {"spin", spin_leaf, spin_thread, NULL, 0},
    {"suspended_spin", spin_leaf, suspended_spin_thread, NULL, 1},
    {"suspended_wait", wait_event_leaf, suspended_wait_thread, NULL, 1},
    {"apc", apc_leaf, apc_thread, NULL, 0},
    {"fiber", wait_event_leaf, fiber_thread, NULL, 0},
    {"unix_call", unix_call_leaf, unix_call_thread, NULL, 0},
    {"load_library", load_library_leaf, load_library_thread, NULL, 0},
};

static struct work works[256];
static int count;

static void say(const char *text)
{
    DWORD written;
    WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), text, (DWORD)strlen(text), &written, NULL);
}

static void fail(const char *what)
{
    say("failed: ");
    say(what);
    say("\n");
    ExitProcess(1);
}

static const struct scenario *parse(const char *argument, struct work *work)
{
    size_t length = strcspn(argument, ":");
    unsigned i;
    for (i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        const struct scenario *scenario = &scenarios[i];
        if (strlen(scenario->name) == length && !strncmp(scenario->name, argument, length)) {
            work->name = scenario->name;
            work->bottom = scenario->bottom;
            work->suspend = scenario->suspend;
            work->depth = work->nesting = 1;
            sscanf(argument + length, ":%d:%d", &work->depth, &work->nesting);
            return scenario;
        }
    }
    fail(argument);
    return NULL;
}

static void wait_until_placed(struct work *work)
{
    while (!work->placed)
        Sleep(1);
}

/* One after the other, so that all happens in the same order each time. */
static void start(const char *argument)
{
    struct work *work = &works[count++];
    const struct scenario *scenario = parse(argument, work);
    if (scenario->start)
        scenario->start(work);
    else
        work->thread = CreateThread(NULL, 0, scenario->thread, work, 0, NULL);
    wait_until_placed(work);
}

static void report(const struct work *work)
{
    char line[200];
    snprintf(line, sizeof line, "thread %ld %lu %s %d %d\n", work->linux_id,
             (unsigned long)work->windows_id, work->name, work->depth, work->nesting);
    say(line);
}

FRAME DWORD WINAPI reporter_thread(void *argument)
{
    struct work *work = argument;
    char line[16];
    DWORD size;
    int i;
    enter(work);
    for (i = 0; i < count; i++) {
        if (&works[i] != work)
            wait_until_placed(&works[i]);
        report(&works[i]);
    }
    say("placed\n");
    ReadFile(GetStdHandle(STD_INPUT_HANDLE), line, sizeof line, &size, NULL);
    for (i = 0; i < count; i++) {
        /* Suspending is done when the context can be had (MSDN, SuspendThread). */
        CONTEXT context = {.ContextFlags = CONTEXT_CONTROL};
        if (works[i].suspend &&
            (SuspendThread(works[i].thread) || !GetThreadContext(works[i].thread, &context)))
            fail("SuspendThread");
    }
    say("ready\n");
    /* In one call, since a debugged process may be stopped as soon as the event is set. */
    return hold(SignalObjectAndWait(line_read, forever, INFINITE, FALSE));
}

int main(int argc, char **argv)
{
    struct work *own = &works[count++], *reporter;
    int i;
    forever = CreateEventA(NULL, TRUE, FALSE, NULL);
    line_read = CreateEventA(NULL, TRUE, FALSE, NULL);
    slot = TlsAlloc();
    critsec_prepare();
    faults_prepare();
    *own = (struct work){.name = "main", .bottom = wait_event_leaf, .depth = 1};
    for (i = 1; i < argc; i++) {
        if (argv[i][0] == '@')
            parse(argv[i] + 1, own);
        else
            start(argv[i]);
    }
    reporter = &works[count++];
    *reporter = (struct work){.name = "reporter"};
    reporter->thread = CreateThread(NULL, 0, reporter_thread, reporter, 0, NULL);
    enter(own);
    return recurse(own, own->depth);
}
