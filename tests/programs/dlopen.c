/* Loads the plugin named by argv[1] and crashes in a callback that the plugin calls. */
#include <dlfcn.h>

static volatile int work;
static int *volatile nowhere; /* read at run time: a constant null would become a trap */

__attribute__((noipa)) static int callback(int x)
{
    *nowhere = x;
    return work + x;
}

int main(int argc, char **argv)
{
    (void)argc;
    void *library = dlopen(argv[1], RTLD_NOW);
    if (!library)
        return 9;
    int (*enter)(int (*)(int), int) = (int (*)(int (*)(int), int))dlsym(library, "plugin_enter");
    work = enter(callback, 3);
    return 0;
}
