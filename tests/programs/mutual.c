/* ping() and pong() call each other LIMIT times in all, with frames of different sizes. */
#ifndef LIMIT
#define LIMIT 2000
#endif
static volatile int work;
static int *volatile nowhere; /* read at run time: a constant null would become a trap */
int pong(int n);

__attribute__((noipa)) int ping(int n)
{
    volatile char room[40];
    room[n % 40] = (char)n;
    int r = n == 1 ? *nowhere : pong(n - 1);
    work = r;
    return r + room[n % 40];
}

__attribute__((noipa)) int pong(int n)
{
    volatile char room[200];
    room[n % 200] = (char)n;
    int r = n == 1 ? *nowhere : ping(n - 1);
    work = r;
    return r + room[n % 200];
}

int main(void)
{
    work = ping(LIMIT);
    return 0;
}
