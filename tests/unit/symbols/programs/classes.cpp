// Names that are hard to read: templates, operators, lambdas, thunks, return types.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

#define KEEP __attribute__((noinline))

namespace ns {
template <class T> struct Class {
    KEEP T method(T x, const std::string &s)
    {
        if (x > 100)
            abort();
        return x + s.size();
    }
    template <class U> KEEP U pick(U u, std::map<int, std::vector<T>> const &m) { return u + m.size(); }
    KEEP T operator()(int x) { return atoi("3") + x; }
    KEEP operator bool() const { return getenv("A"); }
    KEEP bool operator<(const Class &other) const { return getenv("B") && &other < this; }
    KEEP Class &operator<<(int x)
    {
        if (x == 12)
            abort();
        return *this;
    }
    virtual ~Class()
    {
        if (getenv("C"))
            abort();
    }
    virtual void act()
    {
        if (getenv("D"))
            abort();
    }
};
struct Second {
    virtual void other()
    {
        if (getenv("E"))
            abort();
    }
    virtual ~Second() {}
};
struct Both : Class<int>, Second {
    void act() override
    {
        if (getenv("F"))
            abort();
    }
    void other() override
    {
        if (getenv("G"))
            abort();
    }
};
} // namespace ns

namespace {
KEEP int hidden(int x) { return x * atoi("3"); }
} // namespace

KEEP static int (*choose(int x))(int) { return x ? hidden : nullptr; }
template <class F> KEEP auto call(F f) -> decltype(f(1)) { return f(1); }
template <int N, class... A> KEEP int pack(A... a) { return N + (int(a) + ...); }
template <class T> KEEP bool operator<(std::vector<T> const &, T) { return getenv("H"); }
KEEP std::string tagged(std::string x) { return x + "y"; }

int main(int count, char **words)
{
    ns::Class<int> c;
    ns::Both both;
    ns::Class<int> *first = &both;
    ns::Second *second = &both;
    std::map<int, std::vector<int>> m;
    int r = c.method(count, words[0]) + c.pick<double>(1.5, m) + c(3) + bool(c) + (c < both);
    c << count;
    first->act();
    second->other();
    r += call([&](int q) {
        if (q > 100)
            abort();
        return q + r;
    });
    r += pack<3>(1, 2L, 'c') + (*choose(count))(2) + (std::vector<int>() < 3);
    struct Local {
        KEEP int member(int x) { return atoi("3") + x; }
    } local;
    std::vector<std::string> v{tagged("b"), tagged("a")};
    std::sort(v.begin(), v.end(), [](auto const &a, auto const &b) { return a > b; });
    return r + v.size() + local.member(3);
}
