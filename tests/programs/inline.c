/* outer() holds innermost() in inner() in it, all inlined: one frame, three functions. */
static volatile int work;
static int *volatile nowhere; /* read at run time: a constant null would become a trap */

__attribute__((noipa)) static int crash(int *p, int x)
{
    *(volatile int *)p = x;
    return work;
}

static inline __attribute__((always_inline)) int innermost(int *p, int x)
{
    int r = crash(p, x + work);
    work = r;
    return r + x;
}

static inline __attribute__((always_inline)) int inner(int *p, int x)
{
    int r = innermost(p, x + work);
    work = r;
    return r - x;
}

__attribute__((noipa)) static int outer(int *p, int x)
{
    int r = inner(p, x + work);
    work = r;
    return r * x;
}

int main(int argc, char **argv)
{
    (void)argv;
    work = outer(nowhere, argc);
    return 0;
}
