/* middle() ends in a jump to last(): it has no frame any more when last() crashes. */
static volatile int work;
static int *volatile nowhere; /* read at run time: a constant null would become a trap */

__attribute__((noipa)) static int last(int *p, int x)
{
    *(volatile int *)p = x;
    return work;
}

__attribute__((noipa)) static int middle(int *p, int x)
{
    work = x;
    return last(p, x + 1);
}

__attribute__((noipa)) static int first(int *p, int x)
{
    int r = middle(p, x + 1);
    work = r;
    return r + x;
}

int main(int argc, char **argv)
{
    (void)argv;
    work = first(nowhere, argc);
    return 0;
}
