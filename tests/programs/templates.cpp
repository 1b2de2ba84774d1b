// Names that need demangling: templates, namespaces, operators, lambdas, overloads.
#include <functional>
#include <string>
#include <vector>

static volatile int work;

namespace shop {
template <typename T, int N> struct Box {
    T item;
    __attribute__((noipa)) int open(const T &key) const
    {
        int *nothing = nullptr;
        *const_cast<volatile int *>(nothing) = N + (int)(key == item);
        return work;
    }
    __attribute__((noipa)) int operator()(const T &key) const
    {
        int r = open(key);
        work = r;
        return r + N;
    }
};
} // namespace shop

__attribute__((noipa)) static int visit(int x, const std::function<int(int)> &f)
{
    int r = f(x);
    work = r;
    return r + 1;
}

template <typename... Parts> __attribute__((noipa)) int combine(Parts... parts)
{
    shop::Box<std::string, 7> box{"key"};
    int total = (... + static_cast<int>(parts));
    int r = visit(total, [&](int x) {
        int inner = box(std::to_string(x));
        work = inner;
        return inner + x;
    });
    work = r;
    return r;
}

int main(int argc, char **)
{
    work = combine(argc, 'a', 2.5);
    return 0;
}
