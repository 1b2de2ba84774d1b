/* Code of many shapes, to be executed one instruction at a time by whoever sets `go`.

   It says where `go` is, waits for it, runs everything once, and says so by setting
   `done`. No system calls in between: those leave Windows code. */

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

volatile uint64_t go, done;
volatile uint64_t sink;

#define APART __attribute__((noinline))

extern uint64_t form_frame_register(uint64_t), form_saved(uint64_t), form_far(uint64_t),
    form_jump_table(uint64_t), form_tail(uint64_t),
    form_long_frame_register(uint64_t), form_early_frame_register(uint64_t);

APART uint64_t leaf(uint64_t x) { return x * 2654435761u + 1; }
APART uint64_t wild(uint64_t (*function)(uint64_t), uint64_t x) { return function(x + 1); }
APART uint64_t to_tail(uint64_t x) { sink += x; return leaf(x) ? wild(leaf, x) : 0; }

APART uint64_t deep(unsigned n)
{
    char room[64];
    memset(room, (int)n, sizeof room);
    sink += (unsigned char)room[n & 63];
    return n ? deep(n - 1) + room[1] : 1;
}

APART uint64_t large(unsigned n)
{
    char room[20000];
    memset(room, (int)n, 64);
    sink += (unsigned char)room[n & 63];
    return leaf((uint64_t)(uintptr_t)room) + (n ? large(n - 1) : 0);
}

APART uint64_t variable(unsigned n)
{
    char *room = __builtin_alloca(16 * n + 32);
    memset(room, 1, 16);
    uint64_t result = leaf((uint64_t)(uintptr_t)room);
    char *more = __builtin_alloca(n * 48 + 16);
    more[0] = 1;
    return result + leaf((uint64_t)(uintptr_t)more);
}

APART double floating(double a, double b, double c, double d)
{
    double e = sqrt(a + b), f = fabs(c - d);
    for (int i = 0; i < 3; i++) {
        e += a * (double)leaf((uint64_t)i) + f;
        f += b * c + d;
    }
    return a + b + c + d + e + f;
}

APART uint64_t variadic(unsigned count, ...)
{
    va_list list;
    uint64_t sum = 0;
    va_start(list, count);
    while (count--) sum += leaf(va_arg(list, uint64_t));
    va_end(list);
    return sum;
}

APART uint64_t branches(unsigned n)
{
    switch (n) {
    case 0: return leaf(1) + 7;
    case 1: return leaf(2) * 3;
    case 2: sink++; return wild(leaf, 5);
    case 3: return deep(2);
    case 4: return leaf(leaf(4)) ^ 1;
    case 5: return 0;
    default: return to_tail(n);
    }
}

APART __attribute__((cold)) void unlikely(uint64_t x) { sink += leaf(x); }

APART uint64_t mostly(uint64_t x, uint64_t y, uint64_t z)
{
    uint64_t a = leaf(x), b = leaf(y), c = leaf(z);
    if (__builtin_expect(x == 3, 0)) {
        unlikely(a);
        a += leaf(b);
        unlikely(c);
    }
    if (__builtin_expect(a & 1, 1)) return a + b + c;
    return leaf(a) + leaf(b) + c;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return leaf(x) < leaf(y) ? -1 : x != y;
}

static void library(void)
{
    char text[200];
    wchar_t wide[60];
    uint32_t numbers[12] = {5, 2, 9, 1, 7, 7, 0, 3, 8, 6, 4, 11};
    qsort(numbers, 12, sizeof *numbers, compare);
    sprintf(text, "%s %d %#x %8.3f %c %-10s|", "words", -5, 77u, 3.25, 'c', "left");
    sink += strtoul("12345", NULL, 10) + (uint64_t)strtod("1.5e3", NULL) + strlen(text);
    sink += MultiByteToWideChar(CP_ACP, 0, text, -1, wide, 60) + lstrlenW(wide);
    sink += CompareStringW(0x409, 0, L"abc", 3, L"abd", 3);
    char *memory = HeapAlloc(GetProcessHeap(), 0, 100);
    memory[0] = 1;
    memory = HeapReAlloc(GetProcessHeap(), 0, memory, 300);
    HeapFree(GetProcessHeap(), 0, memory);
    sink += GetCurrentThreadId() + GetTickCount();
    sink += (uint64_t)(uintptr_t)GetProcAddress(GetModuleHandleA("ntdll"), "RtlUnwindEx");
    SetLastError(5);
    sink += GetLastError();
}

int main(void)
{
    static uint64_t (*const forms[])(uint64_t) = {
        form_frame_register, form_saved, form_far, form_jump_table, form_tail,
        form_long_frame_register, form_early_frame_register,
    };
    /* Whatever these need to set up is done before they are followed. */
    library();
    printf("go %llx done %llx\n", (unsigned long long)(uintptr_t)&go,
           (unsigned long long)(uintptr_t)&done);
    fflush(stdout);
    while (!go) continue;
    for (unsigned i = 0; i < 8; i++) sink += branches(i);
    for (unsigned i = 0; i < 3; i++) sink += variable(i) + large(i);
    sink += mostly(1, 2, 3) + mostly(3, 2, 1) + deep(6) + variadic(3, go, go, go);
    sink += (uint64_t)floating(1, 2, 3, 4);
    for (unsigned i = 0; i < sizeof forms / sizeof *forms; i++)
        for (uint64_t x = 0; x < 4; x++) sink += forms[i](x);
    library();
    done = 1;
    for (;;) Sleep(1000);
}
