/* Loads the DLLs that its arguments name, says where they are, and waits.
 *
 * It speaks as the zoo does: a line for each thread, where the "scenario" is NAME,BASE of a DLL.
 */
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <stdio.h>
#include <string.h>

static long linux_id(void)
{
#ifdef _WIN64
    long result = 186; /* gettid */
    __asm__ volatile("syscall" : "+a"(result) : : "rcx", "r11", "memory");
#else
    long result = 224; /* gettid; the number is that of i386 */
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory");
#endif
    return result;
}

static void say(const char *text)
{
    DWORD written;
    WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), text, strlen(text), &written, NULL);
}

int main(int argc, char **argv)
{
    char line[300];
    DWORD size;
    int i;
    for (i = 1; i < argc; i++) {
        HMODULE module = LoadLibraryA(argv[i]);
        snprintf(line, sizeof line, "thread %ld %lu %s,%llx 0 1\n", linux_id(),
                 (unsigned long)GetCurrentThreadId(), argv[i], (unsigned long long)(ULONG_PTR)module);
        say(line);
    }
    say("placed\n");
    ReadFile(GetStdHandle(STD_INPUT_HANDLE), line, sizeof line, &size, NULL);
    say("ready\n");
    Sleep(INFINITE);
    return 0;
}
