/* Calls that are expanded in place, functions that are split, and one with many names. */
#include <stdio.h>
#include <stdlib.h>

volatile int sink;

static inline __attribute__((always_inline)) void deep(int x)
{
    sink = x;
    if (x > 2)
        abort();
}

static inline __attribute__((always_inline)) void middle(int x)
{
    deep(x + 1);
    sink++;
}

__attribute__((noinline)) static int outer(int x)
{
    middle(x);
    middle(x + 3);
    return sink;
}

__attribute__((cold, noinline)) void rare(int x)
{
    printf("%d\n", x);
}

int split(int x)
{
    if (__builtin_expect(x > 1000, 0)) {
        rare(x);
        printf("cold %d\n", x);
        abort();
    }
    return x * 2;
}

int __underscored(int x)
{
    return x + sink;
}
extern int plain(int) __attribute__((alias("__underscored")));
extern int weak_name(int) __attribute__((weak, alias("__underscored")));
static int local_name(int) __attribute__((used, alias("__underscored")));

__asm__(".text\n"
        ".globl unsized\n"
        "unsized:\n"
        "    nop\n    nop\n    nop\n    nop\n"
        "inner_label:\n"
        "    nop\n    nop\n    ret\n");

int main(int count, char **words)
{
    (void)words;
    return outer(count) + split(count) + plain(count) + weak_name(count);
}
