/* bail() ends with a call that never returns, so its return address is where innocent() starts
   (built without alignment between functions). */
#include <stdlib.h>

static volatile int work;

__attribute__((noipa, noreturn)) static void fatal(int x)
{
    work = x;
    abort();
}

__attribute__((noipa, noreturn)) void bail(int x)
{
    volatile int room[9];
    room[x & 7] = x;
    fatal(room[x & 7]);
}

__attribute__((noipa)) int innocent(int x)
{
    work = x;
    return x + work;
}

__attribute__((noipa)) static int outer(int x)
{
    if (x)
        bail(x);
    return innocent(x);
}

int main(int argc, char **argv)
{
    (void)argv;
    work = outer(argc);
    return 0;
}
