/* A crash on a stack made by makecontext: the walk ends where that context began. */
#include <ucontext.h>

static volatile int work;
static int *volatile nowhere; /* read at run time: a constant null would become a trap */
static char stack[64 * 1024] __attribute__((aligned(16)));
static ucontext_t home, away;

__attribute__((noipa)) static void crash(int x)
{
    *nowhere = x;
    work++;
}

static void coroutine(void)
{
    crash(3);
    work++;
}

int main(void)
{
    getcontext(&away);
    away.uc_stack.ss_sp = stack;
    away.uc_stack.ss_size = sizeof stack;
    away.uc_link = &home;
    makecontext(&away, coroutine, 0);
    swapcontext(&home, &away);
    work++;
    return 0;
}
