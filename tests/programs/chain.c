/* main -> alpha -> beta -> gamma_ -> crash: a plain call chain that ends in a write to 0x8.
   Work after each call keeps the compiler from turning it into a jump. */
#include <stddef.h>

struct node { struct node *next; int value; };
static volatile int work;

__attribute__((noipa)) static int crash(struct node *n, int x)
{
    char *p = (char *)n;
    *(volatile int *)(p + 8) = x; /* n is null */
    return work + x;
}

__attribute__((noipa)) static int gamma_(struct node *n, int x)
{
    int r = crash(n, x + 1);
    work = r + x;
    return r * 3;
}

__attribute__((noipa)) int beta(struct node *n, int x)
{
    int local[16];
    for (int i = 0; i < 16; i++)
        local[i] = x + i + work;
    int r = gamma_(n, local[x & 15]);
    work = r;
    return r + local[(x + 1) & 15];
}

__attribute__((noipa)) int alpha(struct node *n, int x, int a, int b, int c, int d, int e)
{
    int r = beta(n, x + a);
    work = r + a + b;
    return r * a + b * c + d * e;
}

int main(int argc, char **argv)
{
    struct node *volatile nothing = NULL;
    int r = alpha(nothing, argc, argc + 1, argc + 2, argc + 3, argc + 4, argc + 5);
    work = r;
    return r == (int)(ptrdiff_t)argv;
}
