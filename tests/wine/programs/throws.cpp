// C++ exceptions on their way: a destructor that runs while one unwinds, and a catch block.
#include "zoo.h"

struct Parked {
    struct work *work;
    __attribute__((noinline)) ~Parked() { park(work); }
};

FRAME int cpp_throw(struct work *work)
{
    throw work->depth;
}

FRAME int cpp_unwound(struct work *work)
{
    Parked parked{work};
    return cpp_throw(work) + 1;
}

FRAME int cpp_destructor_leaf(struct work *work)
{
    try {
        return cpp_unwound(work) + 1;
    } catch (int depth) {
        return depth;
    }
}

FRAME int cpp_catch_leaf(struct work *work)
{
    try {
        return cpp_throw(work) + 1;
    } catch (int depth) {
        return park(work) + depth;
    }
}
