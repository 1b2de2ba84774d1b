/* Removes its own file, then crashes. */
#include <unistd.h>

static volatile int work;
static int *volatile nowhere; /* read at run time: a constant null would become a trap */

__attribute__((noipa)) static int crash(int x)
{
    *nowhere = x;
    return work;
}

int main(int argc, char **argv)
{
    if (unlink(argv[0]))
        return 9;
    work = crash(argc);
    return 0;
}
