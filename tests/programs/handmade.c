/* Calls the hand-written code of handmade.S, which calls back. */
static volatile int work;
static int *volatile nowhere; /* read at run time: a constant null would become a trap */
int hand_outer(int (*f)(int), int x);

__attribute__((noipa)) static int callback(int x)
{
    *nowhere = x;
    return work;
}

__attribute__((noipa)) static int enter(int x)
{
    int r = hand_outer(callback, x);
    work = r;
    return r + x;
}

int main(int argc, char **argv)
{
    (void)argv;
    work = enter(argc);
    return 0;
}
