/* Debug another program until it writes where it must not, and hold it there:

       debugger first|second COMMAND-LINE

   With "first" before the program's own handlers are asked, with "second" when none took it. */

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <string.h>

static DWORD answer(const EXCEPTION_DEBUG_INFO *info, BOOL first)
{
    if (info->ExceptionRecord.ExceptionCode == (DWORD)EXCEPTION_BREAKPOINT)
        return DBG_CONTINUE; /* the one that every debugged process begins with */
    if (info->ExceptionRecord.ExceptionCode == (DWORD)EXCEPTION_ACCESS_VIOLATION &&
        !info->dwFirstChance == !first)
        Sleep(INFINITE);
    return DBG_EXCEPTION_NOT_HANDLED;
}

int main(int argc, char **argv)
{
    BOOL first = argc > 2 && !strcmp(argv[1], "first");
    STARTUPINFOA startup = {.cb = sizeof startup};
    PROCESS_INFORMATION process;
    DEBUG_EVENT event;
    char *command = GetCommandLineA();
    command = strstr(command, first ? " first " : " second ");
    if (!command)
        return 1;
    command += first ? sizeof " first" : sizeof " second";
    if (!CreateProcessA(NULL, command, NULL, NULL, TRUE, DEBUG_ONLY_THIS_PROCESS, NULL, NULL,
                        &startup, &process))
        return 2;
    while (WaitForDebugEvent(&event, INFINITE)) {
        DWORD status = DBG_CONTINUE;
        if (event.dwDebugEventCode == EXCEPTION_DEBUG_EVENT)
            status = answer(&event.u.Exception, first);
        if (event.dwDebugEventCode == EXIT_PROCESS_DEBUG_EVENT)
            return 3;
        ContinueDebugEvent(event.dwProcessId, event.dwThreadId, status);
    }
    return 4;
}
