/* A signal whose handler raises a second one, whose handler in turn crashes on the alternate
   stack: three signal frames' worth of stack, of which two are still to be returned from. */
#include <signal.h>
#include <stdlib.h>

static volatile int work;
static char stack[64 * 1024] __attribute__((aligned(16)));

__attribute__((noipa)) static void crash(int *p)
{
    *(volatile int *)p = 1;
    work++;
}

static void second(int signal)
{
    crash(NULL);
    work = signal;
}

static void first(int signal)
{
    raise(SIGUSR2);
    work = signal;
}

__attribute__((noipa)) static void begin(void)
{
    raise(SIGUSR1);
    work++;
}

int main(void)
{
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction plain = {.sa_handler = first};
    struct sigaction other = {.sa_handler = second, .sa_flags = SA_ONSTACK};
    sigaltstack(&alternate, NULL);
    sigaction(SIGUSR1, &plain, NULL);
    sigaction(SIGUSR2, &other, NULL);
    begin();
    work++;
    return 0;
}
