/* Functions that are on a stack, are not, and only seem to be: for patch-check. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

static volatile long counter;

/* Leaves the return address into its caller behind, in memory that a later frame covers. */
NOINLINE void touch(void) {
    volatile char room[512];
    memset((char *)room, 0, 1);
    counter += room[0];
}

NOINLINE void stale(void) {
    volatile char room[64];
    room[0] = 1;
    touch();
    counter += room[0];
}

NOINLINE void never(void) { counter += 2; }

static inline __attribute__((always_inline)) void copied(void) { counter = counter * 7 + 11; }

NOINLINE void has_copy(void) {
    copied();
    counter++;
}

NOINLINE void rest(void) {
    puts("ready");
    fflush(stdout);
    while (counter >= 0)
        pause();
}

/* Jumps to `rest`: nothing returns here. */
NOINLINE void jumps(void) {
    counter++;
    rest();
}

NOINLINE void covers(void (*next)(void)) {
    /* Never written: what `stale` and `touch` have left is in it. */
    volatile char room[2048];
    __asm__ volatile("" : : "r"(room) : "memory");
    next();
    counter += room[0];
}

NOINLINE void outer(void) {
    stale();
    covers(jumps);
    counter++;
}

static void on_signal(int number) {
    (void)number;
    rest();
}

NOINLINE void interrupted(void) {
    raise(SIGUSR1);
    counter++;
}

static void with_signal(void) {
    stack_t stack = {.ss_size = 1 << 16};
    stack.ss_sp = mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                       -1, 0);
    sigaltstack(&stack, NULL);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    interrupted();
}

NOINLINE void *coming(void *argument) {
    usleep(200);
    return argument;
}

/* Threads come and go for as long as the process lives. */
static void *spawner(void *argument) {
    for (;;) {
        pthread_t thread;
        if (!pthread_create(&thread, NULL, coming, NULL))
            pthread_join(thread, NULL);
    }
    return argument;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "signal"))
        with_signal();
    if (!strcmp(what, "threads")) {
        pthread_t thread;
        pthread_create(&thread, NULL, spawner, NULL);
    }
    outer();
    never();
    has_copy();
    copied();
    return 0;
}
