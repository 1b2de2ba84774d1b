/* Scenarios that crash, and stay in what handles that. */
#include "zoo.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static int *volatile nowhere;

FRAME void abort_handler(int number)
{
    park(current());
    hold((DWORD)number);
}

FRAME int abort_leaf(struct work *work)
{
    (void)work;
    signal(SIGABRT, abort_handler);
    abort();
}

FRAME LONG WINAPI unhandled_filter(EXCEPTION_POINTERS *pointers)
{
    (void)pointers;
    park(current());
    return EXCEPTION_EXECUTE_HANDLER;
}

FRAME int null_deref_leaf(struct work *work)
{
    *nowhere = work->depth;
    return (int)hold(0);
}

FRAME int raise_leaf(struct work *work)
{
    RaiseException(0xE0000001, 0, 0, NULL);
    return (int)hold((DWORD)work->depth);
}

FRAME LONG CALLBACK vectored_handler(EXCEPTION_POINTERS *pointers)
{
    struct work *work = current();
    if (work && !strcmp(work->name, "vectored") &&
        pointers->ExceptionRecord->ExceptionCode == STATUS_ACCESS_VIOLATION)
        park(work);
    return EXCEPTION_CONTINUE_SEARCH;
}

FRAME int vectored_leaf(struct work *work)
{
    *nowhere = work->depth;
    return (int)hold(0);
}

FRAME int seh_fault(struct work *work)
{
    *nowhere = work->depth;
    return (int)hold(0);
}

FRAME EXCEPTION_DISPOSITION seh_handler(EXCEPTION_RECORD *record, void *frame, CONTEXT *context,
                                        void *dispatcher)
{
    (void)record, (void)frame, (void)context, (void)dispatcher;
    park(current());
    return ExceptionContinueSearch;
}

#ifdef __x86_64__
int guarded(struct work *work, int (*function)(struct work *)); /* calls it with seh_handler */

__asm__(".text\n"
        ".def guarded; .scl 2; .type 32; .endef\n"
        ".globl guarded\n"
        ".seh_proc guarded\n"
        "guarded:\n"
        "    subq $40, %rsp\n"
        "    .seh_stackalloc 40\n"
        "    .seh_endprologue\n"
        "    .seh_handler seh_handler, @except\n"
        "    call *%rdx\n"
        "    nop\n" /* or the call would be followed by an epilogue */
        "    addq $40, %rsp\n"
        "    ret\n"
        ".seh_endproc\n");
#else
struct registration {
    struct registration *next;
    void *handler;
};

FRAME int guarded(struct work *work, int (*function)(struct work *))
{
    volatile struct registration own = {(struct registration *)__readfsdword(0), seh_handler};
    int result;
    __writefsdword(0, (DWORD)&own);
    result = function(work);
    __writefsdword(0, (DWORD)own.next);
    return result;
}
#endif

FRAME int seh_leaf(struct work *work)
{
    return guarded(work, seh_fault) + (int)hold(0);
}

/* What a debugger waits for stops the whole process, so it comes last: see debugger.c. */
FRAME int first_chance_leaf(struct work *work)
{
    place(work);
    WaitForSingleObject(line_read, INFINITE);
    *nowhere = work->depth;
    return (int)hold(0);
}

FRAME int second_chance_leaf(struct work *work)
{
    place(work);
    WaitForSingleObject(line_read, INFINITE);
    *nowhere = work->depth;
    return (int)hold(0);
}

void faults_prepare(void)
{
    SetUnhandledExceptionFilter(unhandled_filter);
    AddVectoredExceptionHandler(1, vectored_handler);
}
