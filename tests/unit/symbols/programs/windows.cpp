// A DLL without any library, for MinGW's compilers and for clang as MSVC's. `outer` has inlined
// calls, `hidden` is not exported, `_under` has an underscore of its own, `std_call` and
// `fast_call` have decorated names on i386.
#define EXPORT extern "C" __declspec(dllexport)
#define APART __attribute__((noinline))

extern "C" APART void stop() {
    *(volatile int *)16 = 1;
}

namespace shop {
struct Item {
    int n;
};

template <class T> struct Box {
    T value;
    APART T get(int k);
};

inline __attribute__((always_inline)) int deep(int x) {
    if (x == 41)
        stop();
    return x * 3;
}

inline __attribute__((always_inline)) int middle(int x) {
    return deep(x + 1) ^ x;
}

template <class T> T Box<T>::get(int k) {
    return value + middle(k);
}

namespace {
APART int hidden(Item &item, int y) {
    if (y == 7)
        stop();
    item.n += y;
    return y * y + 1;
}
}

APART int outer(Item &item, int y) {
    Box<int> box{item.n};
    return box.get(y) + middle(y * 2) + hidden(item, y);
}
}

EXPORT APART int _under(int y) {
    if (y == 5)
        stop();
    return y + 1;
}

static inline __attribute__((always_inline)) int __two_under(int y) {
    return _under(y) * 3;
}

extern "C" APART int __stdcall std_call(int y) {
    return _under(y) + _under(y + 1);
}

extern "C" APART int __fastcall fast_call(int y) {
    return std_call(y) + __two_under(y);
}

EXPORT int api(int y) {
    shop::Item item{y};
    return shop::outer(item, y) + fast_call(y);
}

extern "C" int __stdcall entry(void *, int reason, void *) {
    return api(reason) + 1;
}
