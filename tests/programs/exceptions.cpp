// The stack while a C++ exception is in flight. MODE 1: abort in a catch block; 2: nobody
// catches; 3: thrown out of a noexcept function, through a C library callback; 4: abort in a
// destructor that runs during unwinding; 5: abort in a catch block below a rethrow.
#include <cstdlib>
#include <stdexcept>

static volatile int work;

struct Guard {
    int armed;
    __attribute__((noipa)) ~Guard()
    {
        work++;
        if (armed)
            abort();
    }
};

__attribute__((noipa)) static void thrower(int x)
{
    work = x;
    if (x)
        throw std::runtime_error("on purpose");
}

__attribute__((noipa)) static void guarded(int x)
{
    Guard guard{MODE == 4};
    thrower(x);
    work++;
}

extern "C" int compare(const void *a, const void *b)
{
    guarded(*static_cast<const int *>(a) + 1);
    return *static_cast<const int *>(b);
}

__attribute__((noipa)) static void sorted() noexcept(MODE == 3)
{
    int items[2] = {1, 2};
    qsort(items, 2, sizeof items[0], compare);
    work++;
}

__attribute__((noipa)) static void rethrower()
{
    try {
        sorted();
    } catch (const std::logic_error &) {
        work++;
    } catch (...) {
        work++;
        throw;
    }
}

__attribute__((noipa)) static void catcher()
{
    try {
        rethrower();
    } catch (const std::exception &error) {
        work += error.what()[0];
        abort();
    }
}

int main()
{
    if (MODE == 2 || MODE == 3)
        sorted();
    else
        catcher();
    work++;
    return 0;
}
