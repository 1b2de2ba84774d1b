/* The library that dlopen.c loads. */
static volatile int work;

__attribute__((noipa)) static int plugin_deeper(int (*f)(int), int x)
{
    int r = f(x + 1);
    work = r;
    return r + x;
}

int plugin_enter(int (*f)(int), int x)
{
    int r = plugin_deeper(f, x + 1);
    work = r;
    return r + x;
}
