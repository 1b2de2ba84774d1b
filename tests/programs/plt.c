/* Single-steps into a call through the procedure linkage table and aborts after STEPS
   instructions of it: its unwind information is one DWARF expression over the address. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

static volatile int work;
static uintptr_t low, high;
static int steps;

static void on_trap(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info;
    uintptr_t pc = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    if ((pc < low || pc >= high) && ++steps == STEPS)
        abort();
}

__attribute__((noipa)) static int stepped(const char *text)
{
    int r;
    __asm__ volatile("sub $128, %%rsp; pushfq; orq $0x100, (%%rsp); popfq; add $128, %%rsp" ::: "memory", "cc");
    r = atoi(text);
    __asm__ volatile("sub $128, %%rsp; pushfq; andq $-257, (%%rsp); popfq; add $128, %%rsp" ::: "memory", "cc");
    return r + work;
}
static void stepped_end(void) __attribute__((used));
static void stepped_end(void) {}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    (void)argc;
    low = (uintptr_t)stepped;
    high = low + 256 < (uintptr_t)stepped_end ? low + 256 : (uintptr_t)stepped_end;
    if (high <= low)
        high = low + 128;
    sigaction(SIGTRAP, &action, NULL);
    work = stepped(argv[0]);
    return 0;
}
