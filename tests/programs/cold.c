/* The failing branch of process() is cold, so the compiler moves it into a part of its own, far
   from the rest, with its own unwind information. */
static volatile int work;
static int *volatile nowhere; /* read at run time: a constant null would become a trap */

__attribute__((cold, noipa)) static int report(int *p, int x)
{
    *(volatile int *)p = x;
    return work;
}

__attribute__((noipa)) int process(int *p, int x)
{
    int r = work + x;
    if (__builtin_expect(!p, 0)) {
        r += report(p, x + 1);
        work = r;
        r += report(p, x + 2);
    }
    work = r;
    return r;
}

int main(int argc, char **argv)
{
    int good = 0;
    (void)argv;
    work = process(&good, argc);
    work = process(nowhere, argc);
    return 0;
}
