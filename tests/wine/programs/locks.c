/* Threads that wait for each other, each in a known way. argv: MODE; says "ready". */

#include <windows.h>

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

static DWORD WINAPI wait_srw(void *argument)
{
    AcquireSRWLockExclusive(&srw);
    return argument != NULL;
}

static DWORD WINAPI wait_handle(void *argument)
{
    return WaitForSingleObject(argument, INFINITE);
}

static void make(LPTHREAD_START_ROUTINE run, void *argument)
{
    CreateThread(NULL, 0, run, argument, 0, NULL);
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
    }
    puts("ready");
    fflush(stdout);
    Sleep(INFINITE);
}
