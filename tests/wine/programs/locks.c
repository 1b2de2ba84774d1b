/* Threads that wait for each other, each in a known way. argv: MODE; says "ready". */

#include <windows.h>

#include <dbghelp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static CRITICAL_SECTION sections[2];
static SRWLOCK srw = SRWLOCK_INIT;
static HANDLE held[2], never;

static __attribute__((noinline)) void take(CRITICAL_SECTION *section)
{
    EnterCriticalSection(section);
    __asm__ volatile("");
}

static DWORD WINAPI ring(void *argument)
{
    int index = argument != NULL;
    take(&sections[index]);
    SetEvent(held[index]);
    WaitForSingleObject(held[!index], INFINITE);
    take(&sections[!index]);
    return 0;
}

/* What a library's DllMain may do as well, and what then loads from another thread. */
static DWORD WINAPI hold_and_load(void *argument)
{
    take(&sections[0]);
    SetEvent(held[0]);
    WaitForSingleObject(held[1], INFINITE);
    LoadLibraryA("version.dll");
    return argument != NULL;
}

static BOOL CALLBACK in_symbols(PCSTR name, DWORD64 base, PVOID context)
{
    (void)name, (void)base, (void)context;
    SetEvent(held[0]);
    WaitForSingleObject(held[1], INFINITE);
    take(&sections[1]);
    return FALSE;
}

/* What names its stacks while it holds a lock that others need, who hold what that needs. */
static DWORD WINAPI hold_and_name(void *argument)
{
    take(&sections[0]);
    SymInitialize(GetCurrentProcess(), NULL, TRUE);
    SymEnumerateModules64(GetCurrentProcess(), in_symbols, NULL);
    return argument != NULL;
}

static DWORD WINAPI other_way(void *argument)
{
    take(&sections[1]);
    SetEvent(held[1]);
    WaitForSingleObject(held[0], INFINITE);
    take(&sections[0]);
    return argument != NULL;
}

static DWORD WINAPI wait_srw(void *argument)
{
    AcquireSRWLockExclusive(&srw);
    return argument != NULL;
}

static CONDITION_VARIABLE asleep = CONDITION_VARIABLE_INIT, woken = CONDITION_VARIABLE_INIT;

static DWORD WINAPI sleep_with_section(void *argument)
{
    CRITICAL_SECTION own;
    InitializeCriticalSection(&own);
    EnterCriticalSection(&own);
    return SleepConditionVariableCS(&asleep, &own, argument ? 0 : INFINITE);
}

static DWORD WINAPI sleep_with_srw(void *argument)
{
    SRWLOCK own = SRWLOCK_INIT;
    AcquireSRWLockExclusive(&own);
    return SleepConditionVariableSRW(&asleep, &own, argument ? 0 : INFINITE, 0);
}

/* Wakes one that holds another section, while it keeps the section that this one needs again. */
static DWORD WINAPI sleep_and_hold(void *argument)
{
    take(&sections[1]);
    take(&sections[0]);
    SetEvent(held[0]);
    return SleepConditionVariableCS(&woken, &sections[0], argument ? 0 : INFINITE);
}

static DWORD WINAPI wake_and_take(void *argument)
{
    WaitForSingleObject(held[0], INFINITE);
    take(&sections[0]);
    WakeConditionVariable(&woken);
    take(&sections[1]);
    return argument != NULL;
}

/* Functions of ntdll and of kernelbase.dll for which MinGW's libraries need no others. */
static DWORD WINAPI wait_on_address(void *argument)
{
    static int word = 1;
    int compared = 1;
    void *found = GetProcAddress(GetModuleHandleA("ntdll.dll"), "RtlWaitOnAddress");
    ((LONG(WINAPI *)(const void *, const void *, SIZE_T, const void *))found)(
        &word, &compared, sizeof(word), argument);
    return 0;
}

static DWORD WINAPI wait_keyed(void *argument)
{
    static int key;
    void *found = GetProcAddress(GetModuleHandleA("ntdll.dll"), "NtWaitForKeyedEvent");
    ((LONG(WINAPI *)(HANDLE, const void *, BOOLEAN, const void *))found)(NULL, &key, 0, argument);
    return 0;
}

static DWORD WINAPI wait_handle(void *argument)
{
    return WaitForSingleObject(argument, INFINITE);
}

static void make(LPTHREAD_START_ROUTINE run, void *argument)
{
    CreateThread(NULL, 0, run, argument, 0, NULL);
}

/* By handles: each thread owns one mutant and waits for the other one, in one of several ways. */

static HANDLE mutants[2], ready[2], threads[2];

static DWORD WINAPI mutant_ring(void *argument)
{
    int index = argument != NULL;
    WaitForSingleObject(mutants[index], INFINITE);
    SetEvent(ready[index]);
    WaitForSingleObject(ready[!index], INFINITE);
    return WaitForSingleObject(mutants[!index], INFINITE);
}

static DWORD WINAPI hold(void *argument)
{
    WaitForSingleObject(mutants[0], INFINITE);
    SetEvent(ready[0]);
    WaitForSingleObject(ready[1], INFINITE);
    return WaitForSingleObject(argument, INFINITE);
}

static DWORD WINAPI wait_all(void *argument)
{
    HANDLE both[2] = {never, mutants[0]};
    WaitForSingleObject(mutants[1], INFINITE);
    SetEvent(ready[1]);
    WaitForSingleObject(ready[0], INFINITE);
    return WaitForMultipleObjects(2, both, argument == NULL, INFINITE);
}

/* Two threads that hold a mutant each; a third waits for any of them, and a fourth for any
 * of them or an event. */
static DWORD WINAPI wait_any(void *argument)
{
    HANDLE all[3] = {mutants[0], mutants[1], never};
    return WaitForMultipleObjects(argument ? 3 : 2, all, FALSE, INFINITE);
}

static DWORD WINAPI wait_end(void *argument)
{
    int index = argument != NULL;
    return WaitForSingleObject(threads[!index], INFINITE);
}

static void make_suspended(int index)
{
    threads[index] =
        CreateThread(NULL, 0, wait_end, index ? held : NULL, CREATE_SUSPENDED, NULL);
}

/* Half of a ring with another process, by names: NUMBER is which half. */
static void share(int number)
{
    char own[] = "Global\\unspool_shared_0", other[] = "Global\\unspool_shared_0";
    char here[] = "unspool_ready_0", there[] = "unspool_ready_0";
    own[sizeof(own) - 2] += number;
    other[sizeof(other) - 2] += !number;
    here[sizeof(here) - 2] += number;
    there[sizeof(there) - 2] += !number;
    mutants[0] = CreateMutexA(NULL, FALSE, own);
    mutants[1] = CreateMutexA(NULL, FALSE, other);
    ready[0] = CreateEventA(NULL, TRUE, FALSE, here);
    ready[1] = CreateEventA(NULL, TRUE, FALSE, there);
    make(mutant_ring, NULL);
}

static void start_other(const char *mode, DWORD flags)
{
    char path[MAX_PATH], command[MAX_PATH + 16];
    STARTUPINFOA start = {.cb = sizeof(start)};
    PROCESS_INFORMATION made;
    GetModuleFileNameA(NULL, path, sizeof(path));
    snprintf(command, sizeof(command), "\"%s\" %s", path, mode);
    if (!CreateProcessA(path, command, NULL, NULL, FALSE, flags, NULL, NULL, &start, &made)) exit(1);
}

/* A program that loads a library while it owns a mutant; its debugger, which is told of the library
 * and waits for that mutant before it lets the program go on; and one that waits behind. */
static void debug_another(void)
{
    HANDLE mutant = CreateMutexA(NULL, FALSE, "unspool_proxy");
    HANDLE loading = CreateEventA(NULL, TRUE, FALSE, "unspool_loading");
    start_other("bystander", 0);
    start_other("debuggee", DEBUG_ONLY_THIS_PROCESS);
    for (;;) {
        DEBUG_EVENT event;
        WaitForDebugEvent(&event, INFINITE);
        if (event.dwDebugEventCode == LOAD_DLL_DEBUG_EVENT
            && WaitForSingleObject(loading, 0) == WAIT_OBJECT_0) {
            puts("ready");
            WaitForSingleObject(mutant, INFINITE);
        }
        ContinueDebugEvent(event.dwProcessId, event.dwThreadId, DBG_CONTINUE);
    }
}

static void be_debugged(void)
{
    WaitForSingleObject(CreateMutexA(NULL, FALSE, "unspool_proxy"), INFINITE);
    SetEvent(CreateEventA(NULL, TRUE, FALSE, "unspool_loading"));
    LoadLibraryA("version.dll");
}

static void stand_by(void)
{
    WaitForSingleObject(CreateEventA(NULL, TRUE, FALSE, "unspool_loading"), INFINITE);
    WaitForSingleObject(CreateMutexA(NULL, FALSE, "unspool_proxy"), INFINITE);
}

static DWORD WINAPI load_waiter(void *argument)
{
    SetEnvironmentVariableA("LOCKS_SECTION", argument);
    LoadLibraryA("waiter.dll");
    return 0;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    never = CreateEventA(NULL, TRUE, FALSE, NULL);
    for (int i = 0; i < 2; i++) {
        InitializeCriticalSection(&sections[i]);
        held[i] = CreateEventA(NULL, TRUE, FALSE, i ? "locks_held_1" : NULL);
        ready[i] = CreateEventA(NULL, TRUE, FALSE, NULL);
        mutants[i] = CreateMutexA(NULL, FALSE, i ? NULL : "unspool_mutant");
    }
    if (!strcmp(mode, "ring")) {
        make(ring, NULL);
        make(ring, held);
    } else if (!strcmp(mode, "loader")) {
        static char address[32];
        snprintf(address, sizeof(address), "%p", (void *)&sections[0]);
        make(hold_and_load, NULL);
        WaitForSingleObject(held[0], INFINITE);
        make(load_waiter, address);
    } else if (!strcmp(mode, "convoy")) {
        take(&sections[0]);
        make(wait_srw, NULL);
        for (int i = 0; i < 4; i++) make(ring, NULL);
    } else if (!strcmp(mode, "others")) {
        AcquireSRWLockExclusive(&srw);
        make(wait_srw, NULL);
        make(wait_handle, never);
        make(sleep_with_section, NULL);
        make(sleep_with_srw, NULL);
        make(wait_on_address, NULL);
        make(wait_keyed, NULL);
        make(sleep_and_hold, NULL);
        make(wake_and_take, NULL);
    } else if (!strcmp(mode, "symbols")) {
        make(hold_and_name, NULL);
        make(other_way, NULL);
    } else if (!strcmp(mode, "mutants")) {
        make(mutant_ring, NULL);
        make(mutant_ring, held);
    } else if (!strcmp(mode, "all") || !strcmp(mode, "either")) {
        make(hold, mutants[1]);
        make(wait_all, mode[0] == 'a' ? NULL : held);
    } else if (!strcmp(mode, "any")) {
        make(mutant_ring, NULL);
        make(mutant_ring, held);
        WaitForMultipleObjects(2, ready, TRUE, INFINITE);
        make(wait_any, NULL);
        make(wait_any, held);
    } else if (!strcmp(mode, "ends")) {
        make_suspended(0);
        make_suspended(1);
        ResumeThread(threads[0]);
        ResumeThread(threads[1]);
    } else if (!strcmp(mode, "pair")) {
        share(0);
        start_other("share", 0);
        WaitForSingleObject(ready[1], INFINITE);
    } else if (!strcmp(mode, "debugger")) {
        setvbuf(stdout, NULL, _IONBF, 0);
        debug_another();
    } else if (!strcmp(mode, "debuggee")) {
        be_debugged();
    } else if (!strcmp(mode, "bystander")) {
        stand_by();
    } else if (!strcmp(mode, "share")) {
        share(1);
        Sleep(INFINITE);
    } else if (!strcmp(mode, "semaphore")) {
        make(wait_handle, CreateSemaphoreA(NULL, 0, 5, NULL));
        make(wait_handle, GetCurrentProcess());
    }
    puts("ready");
    fflush(stdout);
    Sleep(INFINITE);
}
