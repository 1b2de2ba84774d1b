/* Locals that need more alignment than the ABI gives the stack: the compiler realigns it and
   describes the caller's frame by a DWARF expression that reads memory. */
typedef int wide __attribute__((vector_size(ALIGNMENT)));

static volatile int work;
static int *volatile nowhere; /* read at run time: a constant null would become a trap */

__attribute__((noipa)) static int crash(volatile wide *a, int n)
{
    *nowhere = (*a)[n];
    return work;
}

__attribute__((noipa)) static int aligned(int n, int a, int b, int c, int d, int e, int f, int g)
{
    volatile wide local[2];
    for (int i = 0; i < 4; i++)
        local[n & 1][i] = n + i + a + b + c + d + e + f + g;
    int r = crash(&local[n & 1], n & 3);
    work = r;
    return r + local[0][1] + g;
}

/* A variable-length array on top: now neither the stack pointer nor a fixed offset will do. */
__attribute__((noipa)) static int both(int n)
{
    volatile char array[n * 11];
    volatile wide local;
    local[n & 3] = n;
    array[n] = (char)n;
    int r = aligned(n, array[n], 2, 3, 4, 5, 6, local[n & 3]);
    work = r;
    return r + array[0];
}

int main(int argc, char **argv)
{
    (void)argv;
    work = both(argc + 2);
    return 0;
}
