/* WebAssembly with debug information, for wasm_lines.py. */
__attribute__((import_module("host"), import_name("wait"))) int wait_here(int);

__attribute__((noinline)) int inner(int x)
{
    int r = wait_here(x + 1);
    return r + x;
}

static inline __attribute__((always_inline)) int twice(int x)
{
    return inner(x + x) + 1;
}

__attribute__((noinline)) int middle(int x)
{
    int r = twice(x);
    return r + x;
}

__attribute__((export_name("outer"), noinline)) int outer(int x)
{
    int r = middle(x);
    return r - 1;
}
