/* What jit_registered.c loads: functions that call one another, and back. */
typedef int (*Callback)(int);

#ifdef APART
#define IN(name) __attribute__((section(".text." name)))
#else
#define IN(name)
#endif

__attribute__((noipa)) IN("inner") int made_inner(Callback back, int x)
{
    volatile char room[40];
    room[x & 15] = x;
    return back(x) + room[x & 15];
}

static inline __attribute__((always_inline)) int twice(Callback back, int x)
{
    return made_inner(back, x + x) + 1;
}

__attribute__((noipa)) IN("middle") int made_middle(Callback back, int x)
{
    int r = twice(back, x);
    return r + x;
}

__attribute__((noipa)) IN("outer") int made_outer(Callback back, int x)
{
    int r = made_middle(back, x + 1);
    return r - x;
}
