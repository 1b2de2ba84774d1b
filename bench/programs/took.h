/* Runs a child and says what it took. */
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct took {
    int status;     /* as wait(2) gives it */
    long long wall; /* nanoseconds */
    long long cpu;  /* microseconds */
    long peak;      /* kilobytes, of the child or the largest of its own */
};

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static long long micro(struct timeval time)
{
    return time.tv_sec * 1000000LL + time.tv_usec;
}

/* `become` is called in the child with `arguments`, and is not to return. 0 if all went well. */
static int run(void (*become)(char **), char **arguments, struct took *took)
{
    struct rusage usage;
    long long start = now();
    pid_t child = fork();
    if (child == 0) {
        become(arguments);
        _exit(127);
    }
    if (child < 0 || wait4(child, &took->status, 0, &usage) != child)
        return 1;
    took->wall = now() - start;
    took->cpu = micro(usage.ru_utime) + micro(usage.ru_stime);
    took->peak = usage.ru_maxrss;
    return 0;
}
