/* down() calls itself until the stack ends, or LIMIT times. With HANDLER, a handler on an
   alternate stack aborts. */
#include <signal.h>
#include <stdlib.h>

static volatile int work;
static int *volatile nowhere; /* read at run time: a constant null would become a trap */

#ifdef LIMIT
/* Exactly LIMIT frames, then a crash: the stack is deep, yet it did not run out. */
__attribute__((noipa)) static int down(int n)
{
    if (n == 1)
        *nowhere = n;
    int r = down(n - 1);
    work = r;
    return r + n;
}
#else
__attribute__((noipa)) static int down(int n)
{
    work = n;
    int r = down(n + 1);
    work = r;
    return r + n;
}
#endif

#ifdef HANDLER
static char stack[64 * 1024] __attribute__((aligned(16)));
static void handler(int signal)
{
    (void)signal;
    abort();
}
#endif

__attribute__((noipa)) static int begin(void)
{
#ifdef LIMIT
    int r = down(LIMIT);
#else
    int r = down(1);
#endif
    work++;
    return r;
}

int main(void)
{
#ifdef HANDLER
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    sigaltstack(&alternate, NULL);
    sigaction(SIGSEGV, &action, NULL);
#endif
    begin();
    work++;
    return 0;
}
