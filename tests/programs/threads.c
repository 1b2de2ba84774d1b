/* COUNT worker threads, each parked DEPTH + index % 4 calls deep in one of three system calls;
   then one more thread crashes. With the argument "wait" it says "ready" and waits instead. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifndef COUNT
#define COUNT 4
#endif
#ifndef DEPTH
#define DEPTH 3
#endif

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t started;
static int quiet[2];
static volatile int work;

__attribute__((noipa)) static void park(long index)
{
    char byte;
    pthread_barrier_wait(&started);
    switch (index % 3) {
    case 0:
        pause();
        break;
    case 1:
        if (read(quiet[0], &byte, 1) == 1)
            work = byte;
        break;
    default:
        pthread_mutex_lock(&lock);
        for (;;)
            pthread_cond_wait(&never, &lock);
    }
    work++;
}

__attribute__((noipa)) static void descend(int depth, long index)
{
    if (depth > 1)
        descend(depth - 1, index);
    else
        park(index);
    work++;
}

static void *worker(void *argument)
{
    long index = (long)argument;
    char name[16];
    snprintf(name, sizeof name, "worker-%ld", index);
    prctl(PR_SET_NAME, name);
    descend(DEPTH + index % 4, index);
    work++;
    return NULL;
}

__attribute__((noipa)) static void boom(int *p)
{
    *(volatile int *)p = 7;
    work++;
}

static void *crasher(void *argument)
{
    prctl(PR_SET_NAME, "crasher");
    usleep(100 * 1000); /* let main wait for us: inside of clone3, eu-stack finds no caller */
    boom(argument);
    work++;
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    pthread_attr_t attributes;
    if (pipe(quiet))
        return 1;
    pthread_barrier_init(&started, NULL, COUNT + 1);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 128 * 1024);
    for (long i = 0; i < COUNT; i++)
        if (pthread_create(&thread, &attributes, worker, (void *)i))
            return 2;
    pthread_barrier_wait(&started);
    usleep(200 * 1000); /* let the last ones reach their system call */
    if (argc > 1 && !strcmp(argv[1], "wait")) {
        if (write(1, "ready\n", 6) != 6)
            return 3;
        pause();
    }
    if (pthread_create(&thread, NULL, crasher, NULL))
        return 2;
    pthread_join(thread, NULL);
    return 0;
}
