/* How long does another program hold this process? It tells by its own clock.

   usage: spin_gap THREADS DEPTH
   The main thread reads the clock in a loop, the last thread naps 30 microseconds at a time;
   both note when they were stopped. All others are parked, DEPTH calls deep. It says
   "ready PID"; each line on standard input is answered with
   "main GAP START END last GAP START END", in nanoseconds: the largest time without progress,
   and the first and the last moment of all of those since the line before (0 0 0: none).

   Being stopped is told from waiting for a CPU by the number of times that the thread gave up
   its CPU of itself: a stopped thread does, a preempted one does not. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct gaps { int64_t largest, start, end; };
struct meter {
    struct gaps now, reported;
    _Atomic int wanted, given;
};

static struct meter meters[2];
static pthread_barrier_t started;
static int depth;
static volatile int work;

static int64_t clock_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static long times_given_up(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
}

__attribute__((noinline)) static void measure(struct meter *meter, int nap)
{
    const struct timespec pause = {0, 30000};
    const int64_t least = nap ? 0 : 5000; /* shorter ones are not worth a system call */
    long count = times_given_up();
    int64_t before = clock_now();
    prctl(PR_SET_TIMERSLACK, 1UL);
    for (;;) {
        if (nap)
            nanosleep(&pause, NULL);
        int64_t after = clock_now(), gap = after - before;
        if (gap > least) {
            long now = times_given_up();
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
        before = after; /* a second reading here would miss what happens in between */
    }
}

__attribute__((noinline)) static void answer(void)
{
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        for (int i = 0; i < 2; i++) {
            meters[i].wanted++;
            while (meters[i].given != meters[i].wanted)
                usleep(100);
            struct gaps g = meters[i].reported;
            printf("%s %lld %lld %lld%c", i ? "last" : "main", (long long)g.largest,
                   (long long)g.start, (long long)g.end, i ? '\n' : ' ');
        }
        fflush(stdout);
    }
    exit(0);
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
        pthread_barrier_wait(&started);
        pause();
    }
    work++;
}

static void *worker(void *role)
{
    descend(depth, (enum role)(intptr_t)role);
    return NULL;
}

static void start(enum role role)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    if (pthread_create(&thread, &attributes, worker, (void *)(intptr_t)role))
        exit(2);
}

int main(int argc, char **argv)
{
    int threads = argc > 2 ? atoi(argv[1]) : 0;
    if (threads < 4)
        return 64;
    depth = atoi(argv[2]);
    pthread_barrier_init(&started, NULL, threads - 2);
    start(ANSWER);
    for (int i = 0; i < threads - 3; i++)
        start(PARK);
    pthread_barrier_wait(&started);
    usleep(100000); /* let the last ones reach their system call */
    start(NAP);
    printf("ready %d\n", (int)getpid());
    fflush(stdout);
    descend(depth, SPIN);
    return 0;
}
