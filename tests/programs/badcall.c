/* A call through a pointer to TARGET: nothing there, or nothing that may be executed. */
static volatile int work;
static char data[64] = {1, 2, 3};

#ifndef TARGET
#define TARGET 0
#endif

__attribute__((noipa)) static int invoke(int (*f)(int), int x)
{
    int r = f(x + 1);
    work = r;
    return r + x;
}

__attribute__((noipa)) static int dispatch(int x)
{
    int (*volatile target)(int) = (int (*)(int))(TARGET);
    int r = invoke(target, x);
    work = r + data[3];
    return r;
}

int main(int argc, char **argv)
{
    (void)argv;
    work = dispatch(argc);
    return 0;
}
