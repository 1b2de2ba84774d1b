/* A library whose DllMain waits for a critical section: it holds the loader lock meanwhile. */

#include <windows.h>

#include <stdlib.h>

BOOL WINAPI DllMain(HINSTANCE library, DWORD reason, void *reserved)
{
    (void)library;
    (void)reserved;
    if (reason == DLL_PROCESS_ATTACH) {
        char text[32];
        HANDLE event = OpenEventA(EVENT_MODIFY_STATE, FALSE, "locks_held_1");
        GetEnvironmentVariableA("LOCKS_SECTION", text, sizeof(text));
        SetEvent(event);
        EnterCriticalSection((CRITICAL_SECTION *)(ULONG_PTR)strtoull(text, NULL, 16));
    }
    return TRUE;
}
