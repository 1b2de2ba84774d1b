/* Scenarios that wait, or do not even that. */
#include "zoo.h"

#include <string.h>

static CRITICAL_SECTION section;

void critsec_prepare(void)
{
    InitializeCriticalSection(&section);
}

FRAME int wait_event_leaf(struct work *work)
{
    place(work);
    return (int)hold(WaitForSingleObject(forever, INFINITE));
}

FRAME int sleep_leaf(struct work *work)
{
    place(work);
    Sleep(24 * 60 * 60 * 1000);
    return (int)hold(0);
}

FRAME int critsec_owner_leaf(struct work *work)
{
    EnterCriticalSection(&section);
    return park(work);
}

FRAME int critsec_leaf(struct work *work)
{
    place(work);
    EnterCriticalSection(&section);
    return (int)hold(0);
}

FRAME int spin_leaf(struct work *work)
{
    static volatile int never;
    place(work);
    while (!never)
        ;
    return (int)hold(0);
}

FRAME void CALLBACK apc_callback(ULONG_PTR argument)
{
    park((struct work *)argument);
}

FRAME int apc_leaf(struct work *work)
{
    QueueUserAPC(apc_callback, GetCurrentThread(), (ULONG_PTR)work);
    return (int)hold(SleepEx(INFINITE, TRUE));
}

/* Unix code that waits for a child process, which ends when this program's standard input does.
   A system call in Wine 8.0; in 10.0 a call of a kind that takes a shorter way. */
FRAME int unix_call_leaf(struct work *work)
{
    static char shell[] = "/bin/sh", option[] = "-c", command[] = "while read line; do :; done";
    static char *arguments[] = {shell, option, command, NULL};
    typedef LONG(CDECL *spawn_function)(char *const argv[], int wait);
    spawn_function spawn =
        (spawn_function)(void *)GetProcAddress(GetModuleHandleA("ntdll.dll"), "__wine_unix_spawnvp");
    place(work);
    WaitForSingleObject(line_read, INFINITE); /* or the child would read that line */
    return (int)hold((DWORD)spawn(arguments, TRUE));
}

/* Loading a Unix library, which takes the shorter way in 8.0, too. Its constructor waits
   (blocker.c); the loader's lock is held meanwhile. Not in the new WoW64. */
FRAME int load_library_leaf(struct work *work)
{
    char path[MAX_PATH + 16];
    GetModuleFileNameA(NULL, path, MAX_PATH);
    strcpy(strrchr(path, '\\') + 1, "blocker.so");
    place(work);
    WaitForSingleObject(line_read, INFINITE); /* with the lock held no thread can start */
    return LoadLibraryA(path) != NULL;
}
