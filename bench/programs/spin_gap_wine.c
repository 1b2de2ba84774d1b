/* How long does another program hold this process? tests/programs/spin_gap.c for Windows: a
   program that runs under Wine, and tells by the clock of the kernel below it.

   usage: spin_gap_wine THREADS DEPTH
   The main thread reads the clock in a loop, the last thread naps 30 microseconds at a time;
   both note when they were stopped. All others are in Wine system calls, DEPTH calls deep. What
   it says and answers is as there. */
#include <fcntl.h>
#include <io.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

enum { NANOSLEEP = 35, GETPID = 39, GETRUSAGE = 98, PRCTL = 157, CLOCK_GETTIME = 228 };
enum { CLOCK = 1 /* CLOCK_MONOTONIC */, THREAD = 1 /* RUSAGE_THREAD */, SLACK = 29 };

struct gaps { int64_t largest, start, end; };
struct meter {
    struct gaps now, reported;
    _Atomic int wanted, given;
};

static struct meter meters[2];
static volatile LONG parked;
static int depth;
static volatile int work;

/* The loop must not wait for the wineserver, which a stop of others may hold up. */
static int64_t linux_call(int64_t number, int64_t first, const void *second)
{
    int64_t result = number;
    __asm__ volatile("syscall" : "+a"(result) : "D"(first), "S"(second)
                     : "rcx", "r11", "memory");
    return result;
}

static int64_t clock_now(void)
{
    int64_t time[2];
    linux_call(CLOCK_GETTIME, CLOCK, time);
    return time[0] * 1000000000LL + time[1];
}

static int64_t times_given_up(void)
{
    int64_t usage[18];
    linux_call(GETRUSAGE, THREAD, usage);
    return usage[16]; /* ru_nvcsw */
}

__attribute__((noinline)) static void measure(struct meter *meter, int nap)
{
    const int64_t pause[2] = {0, 30000};
    const int64_t least = nap ? 0 : 5000;
    int64_t count = times_given_up(), before = clock_now();
    linux_call(PRCTL, SLACK, (void *)1);
    for (;;) {
        if (nap)
            linux_call(NANOSLEEP, (intptr_t)pause, NULL);
        int64_t after = clock_now(), gap = after - before;
        if (gap > least) {
            int64_t now = times_given_up();
            if (now - count > nap) {
                if (gap > meter->now.largest)
                    meter->now.largest = gap;
                if (!meter->now.start)
                    meter->now.start = before;
                meter->now.end = after;
            }
            count = now;
        }
        if (meter->wanted != meter->given) {
            meter->reported = meter->now;
            meter->now = (struct gaps){0, 0, 0};
            meter->given = meter->wanted;
        }
        before = after;
    }
}

__attribute__((noinline)) static void answer(void)
{
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        for (int i = 0; i < 2; i++) {
            meters[i].wanted++;
            while (meters[i].given != meters[i].wanted)
                Sleep(1);
            struct gaps g = meters[i].reported;
            printf("%s %lld %lld %lld%c", i ? "last" : "main", (long long)g.largest,
                   (long long)g.start, (long long)g.end, i ? '\n' : ' ');
        }
        fflush(stdout);
    }
    ExitProcess(0);
}

enum role { PARK, ANSWER, NAP, SPIN };

__attribute__((noinline)) static void descend(int levels, enum role role)
{
    if (levels > 1)
        descend(levels - 1, role);
    else if (role == SPIN || role == NAP)
        measure(&meters[role == NAP], role == NAP);
    else if (role == ANSWER)
        answer();
    else {
        InterlockedIncrement(&parked);
        Sleep(INFINITE);
    }
    work++;
}

static DWORD WINAPI worker(void *role)
{
    descend(depth, (enum role)(intptr_t)role);
    return 0;
}

static void start(enum role role)
{
    if (!CreateThread(NULL, 256 * 1024, worker, (void *)(intptr_t)role, 0, NULL))
        exit(2);
}

int main(int argc, char **argv)
{
    int threads = argc > 2 ? atoi(argv[1]) : 0;
    if (threads < 4)
        return 64;
    depth = atoi(argv[2]);
    _setmode(_fileno(stdout), _O_BINARY);
    start(ANSWER);
    for (int i = 0; i < threads - 3; i++)
        start(PARK);
    while (parked < threads - 3)
        Sleep(1);
    Sleep(100); /* let the last ones reach their system call */
    start(NAP);
    printf("ready %d\n", (int)linux_call(GETPID, 0, NULL));
    fflush(stdout);
    descend(depth, SPIN);
    return 0;
}
