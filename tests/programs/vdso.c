/* A timer interrupts clock_gettime until it hits code of the vdso; its handler then aborts. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

static volatile int work;
static uintptr_t vdso;

static void on_alarm(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info;
#if defined(__x86_64__)
    uintptr_t pc = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#elif defined(__i386__)
    uintptr_t pc = ((ucontext_t *)context)->uc_mcontext.gregs[REG_EIP];
#endif
    if (pc - vdso < 0x4000)
        abort();
}

__attribute__((noipa)) static void ask(void)
{
    struct timespec now;
    for (int i = 0; i < 1000; i++)
        clock_gettime(CLOCK_MONOTONIC, &now);
    work++;
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO};
    struct itimerval often = {{0, 500}, {0, 500}};
    vdso = getauxval(AT_SYSINFO_EHDR);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (;;)
        ask();
}
