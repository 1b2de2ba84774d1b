/* Threads with exception records of all kinds, one for each argument: SCENARIO or SCENARIO:DEPTH.

   DEPTH good records lie under the scenario's own. For 32-bit programs alone. What it says and
   what it reads is as in zoo.c, but that a scenario is told as NAME,TEB,RECORD (in hexadecimal), and that
   the main thread's last number is the process's id in Windows.

   With `raise SCENARIO` the thread raises an exception in place of waiting, and the handler that
   the system calls says so: `called`.

   `load_config` is what the linkers of others put into a program with SafeSEH; it lists
   `listed_handler` alone. Nothing leads to it until the header does. */

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FRAME __attribute__((noipa))

struct registration {
    struct registration *next;
    void *handler;
};

struct work {
    const char *name;
    void (*bottom)(struct work *);
    int depth;
    volatile LONG placed;
    DWORD windows_id;
    long linux_id;
    struct registration *record;
};

static HANDLE forever;
static struct registration in_data;
static DWORD no_code[4];
static struct work works[64];
static int count;

__asm__(".section .rdata,\"dr\"\n"
        ".balign 4\n"
        "handler_table: .rva _listed_handler\n"
        ".globl _load_config\n"
        "_load_config:\n"
        "    .long 0x48\n"
        "    .zero 0x3c\n"
        "    .long handler_table\n"
        "    .long 1\n"
        ".text\n");

static int raising, passes; /* handlers that leave an exception to the next one */

static void say(const char *text)
{
    DWORD written;
    WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), text, (DWORD)strlen(text), &written, NULL);
}

FRAME EXCEPTION_DISPOSITION called(void)
{
    if (raising && !passes--) {
        say("called\n");
        ExitProcess(0);
    }
    return ExceptionContinueSearch;
}

FRAME EXCEPTION_DISPOSITION listed_handler(void)
{
    return called();
}

FRAME EXCEPTION_DISPOSITION unlisted_handler(void)
{
    return called();
}

static struct registration *newest(void)
{
    return (struct registration *)__readfsdword(0);
}

FRAME void install(struct work *work, struct registration *record, void *handler)
{
    record->next = newest();
    record->handler = handler;
    __writefsdword(0, (DWORD)record);
    work->record = record;
}

FRAME void park(struct work *work)
{
    if (raising)
        RaiseException(0xE0000001, 0, 0, NULL);
    InterlockedExchange(&work->placed, 1);
    WaitForSingleObject(forever, INFINITE);
}

FRAME void copy(char *to, const char *from)
{
    while ((*to++ = *from++))
        ;
}

FRAME void good(struct work *work)
{
    struct registration record;
    install(work, &record, listed_handler);
    park(work);
}

FRAME void overwritten(struct work *work)
{
    struct {
        char buffer[16];
        struct registration record;
        char behind[64];
    } local;
    install(work, &local.record, listed_handler);
    copy(local.buffer, "a request that is longer than its buffer");
    park(work);
}

FRAME void handler_overwritten(struct work *work)
{
    struct registration record;
    install(work, &record, listed_handler);
    memcpy(&record.handler, "BBBB", 4);
    park(work);
}

FRAME void below(struct work *work)
{
    install(work, &in_data, listed_handler);
    park(work);
}

FRAME void above(struct work *work)
{
    DWORD how = MEM_RESERVE | MEM_COMMIT | MEM_TOP_DOWN;
    install(work, VirtualAlloc(NULL, 4096, how, PAGE_READWRITE), listed_handler);
    park(work);
}

FRAME void misaligned(struct work *work)
{
    struct registration records[2];
    install(work, (struct registration *)((char *)records + 2), listed_handler);
    park(work);
}

FRAME void on_stack(struct work *work)
{
    struct {
        struct registration record;
        unsigned char code[16];
    } local;
    install(work, &local.record, local.code);
    park(work);
}

FRAME void generated(struct work *work)
{
    struct registration record;
    DWORD how = MEM_RESERVE | MEM_COMMIT, target = (DWORD)listed_handler;
    unsigned char *code = VirtualAlloc(NULL, 4096, how, PAGE_EXECUTE_READWRITE);
    memcpy(code, "\xb8", 1); /* mov $target, %eax */
    memcpy(code + 1, &target, 4);
    memcpy(code + 5, "\xff\xe0", 2); /* jmp *%eax */
    install(work, &record, code);
    park(work);
}

FRAME void data(struct work *work)
{
    struct registration record;
    install(work, &record, no_code);
    park(work);
}

FRAME void unlisted(struct work *work)
{
    struct registration record;
    install(work, &record, unlisted_handler);
    park(work);
}

FRAME void down(struct work *work)
{
    struct registration records[2];
    records[1].next = records;
    records[1].handler = listed_handler;
    install(work, records, listed_handler);
    __writefsdword(0, (DWORD)&records[1]);
    work->record = &records[1];
    passes = raising;
    park(work);
}

FRAME void circle(struct work *work)
{
    struct registration record;
    install(work, &record, listed_handler);
    record.next = &record;
    park(work);
}

FRAME void null_next(struct work *work)
{
    struct registration record;
    install(work, &record, listed_handler);
    record.next = NULL;
    park(work);
}

FRAME void cut(struct work *work)
{
    struct registration record;
    install(work, &record, listed_handler);
    record.next = (struct registration *)-1;
    park(work);
}

FRAME void empty(struct work *work)
{
    __writefsdword(0, (DWORD)-1);
    park(work);
}

FRAME void guarded(struct work *work, int depth)
{
    struct registration record;
    if (!depth) {
        work->bottom(work);
        return;
    }
    install(work, &record, listed_handler);
    guarded(work, depth - 1);
}

static long linux_id(void)
{
    long result = 224; /* gettid */
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory");
    return result;
}

FRAME DWORD WINAPI worker(void *argument)
{
    struct work *work = argument;
    char name[100];
    work->windows_id = GetCurrentThreadId();
    work->linux_id = linux_id();
    snprintf(name, sizeof name, "%s,%lx", work->name, (unsigned long)__readfsdword(0x18));
    work->name = strdup(name);
    guarded(work, work->depth);
    return 0;
}

static const struct {
    const char *name;
    void (*bottom)(struct work *);
} scenarios[] = {
    {"good", good}, {"overwritten", overwritten}, {"handler_overwritten", handler_overwritten},
    {"below", below}, {"above", above}, {"misaligned", misaligned}, {"on_stack", on_stack},
    {"generated", generated}, {"data", data}, {"unlisted", unlisted}, {"circle", circle}, {"down", down},
    {"null_next", null_next}, {"cut", cut}, {"empty", empty},
};

static void start(const char *argument)
{
    struct work *work = &works[count++];
    size_t length = strcspn(argument, ":");
    unsigned i;
    for (i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        const char *name = scenarios[i].name;
        if (strlen(name) == length && !strncmp(name, argument, length)) {
            work->name = name;
            work->bottom = scenarios[i].bottom;
            sscanf(argument + length, ":%d", &work->depth);
            CreateThread(NULL, 0, worker, work, 0, NULL);
            while (!work->placed)
                Sleep(1);
            return;
        }
    }
    say("failed: no such scenario\n");
    ExitProcess(1);
}

int main(int argc, char **argv)
{
    char line[200];
    DWORD size;
    int i;
    forever = CreateEventA(NULL, TRUE, FALSE, NULL);
    SetErrorMode(SEM_NOGPFAULTERRORBOX);
    raising = argc > 2 && !strcmp(argv[1], "raise");
    for (i = 1 + raising; i < argc; i++)
        start(argv[i]);
    snprintf(line, sizeof line, "thread %ld %lu main,%lx,0 1 %lu\n", linux_id(),
             (unsigned long)GetCurrentThreadId(), (unsigned long)__readfsdword(0x18),
             (unsigned long)GetCurrentProcessId());
    say(line);
    for (i = 0; i < count; i++) {
        struct work *work = &works[i];
        /* What the memory says is read from outside; where it has to be, only this can say. */
        snprintf(line, sizeof line, "thread %ld %lu %s,%lx %d 1\n", work->linux_id,
                 (unsigned long)work->windows_id, work->name, (unsigned long)work->record,
                 work->depth);
        say(line);
    }
    say("placed\n");
    ReadFile(GetStdHandle(STD_INPUT_HANDLE), line, sizeof line, &size, NULL);
    say("ready\n");
    WaitForSingleObject(forever, INFINITE);
    return 0;
}
