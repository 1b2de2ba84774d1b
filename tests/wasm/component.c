/* A module of a component, which is made of two: the FIRST is called by the other, and traps. */
__attribute__((import_module("h"), import_name("f"))) void next(int n);

#ifdef FIRST
static inline __attribute__((always_inline)) void inlined(int n)
{
    next(n);
    __builtin_trap();
}

void go(int n)
{
    inlined(n + 1);
}
#else
int counter;

static __attribute__((noinline)) void between(int n)
{
    counter++;
    next(n);
    counter--;
}

void go(int n)
{
    between(n + 1);
    counter += 2;
}
#endif
