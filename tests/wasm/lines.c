/* WebAssembly with DWARF: a function, and one that is expanded in place, call the host. */
void back(int n);

static inline __attribute__((always_inline)) void inlined(int n)
{
    back(n);
}

static __attribute__((noinline)) void middle(int n)
{
    if (n > 1000)
        return;
    inlined(n);
}

void go(int n)
{
    middle(n + 1);
    back(0);
}
