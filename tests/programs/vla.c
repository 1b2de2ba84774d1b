/* Frames whose size is known only at run time: a variable-length array, and alloca in a loop. */
#include <alloca.h>

static volatile int work;
static int *volatile nowhere; /* read at run time: a constant null would become a trap */

__attribute__((noipa)) static int crash(volatile char *a, int n)
{
    *nowhere = a[n - 1];
    return work;
}

__attribute__((noipa)) static int with_alloca(int n)
{
    char *p = (char *)&work;
    for (int i = 1; i < n; i++) {
        char *next = alloca(16 * i);
        next[0] = *p;
        p = next;
    }
    int r = crash(p, 1);
    work = r;
    return r + *p;
}

__attribute__((noipa)) static int with_array(int n)
{
    volatile char array[n * 37];
    array[n] = (char)n;
    int r = with_alloca(n + array[n]);
    work = r;
    return r + array[n - 1];
}

int main(int argc, char **argv)
{
    (void)argv;
    work = with_array(argc + 4);
    return 0;
}
