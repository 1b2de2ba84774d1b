/* A fault in victim() runs a handler, on an alternate stack or with SAME_STACK on the thread's
   own, and the handler aborts. SIMPLE asks for a handler without siginfo: on i386 the kernel then
   builds its old, smaller kind of signal frame. */
#include <signal.h>
#include <stdlib.h>

static volatile int work;
#ifndef SAME_STACK
static char stack[64 * 1024] __attribute__((aligned(16)));
#endif

__attribute__((noipa)) static void give_up(int signal)
{
    work = signal;
    abort();
}

#ifdef SIMPLE
static void handler(int signal)
{
    give_up(signal);
    work++;
}
#else
static void handler(int signal, siginfo_t *info, void *context)
{
    (void)info, (void)context;
    give_up(signal);
    work++;
}
#endif

__attribute__((noipa)) static void victim(int *p)
{
    *(volatile int *)p = 1;
    work++;
}

__attribute__((noipa)) static void caller(int *p)
{
    victim(p);
    work++;
}

int main(void)
{
    int *volatile nothing = NULL;
    struct sigaction action = {.sa_flags = 0};
#ifdef SIMPLE
    action.sa_handler = handler;
#else
    action.sa_sigaction = handler;
    action.sa_flags |= SA_SIGINFO;
#endif
#ifndef SAME_STACK
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&alternate, NULL);
    action.sa_flags |= SA_ONSTACK;
#endif
    sigaction(SIGSEGV, &action, NULL);
    caller(nothing);
    work++;
    return 0;
}
