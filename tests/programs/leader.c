/* The first thread is gone when another one crashes. */
#include <pthread.h>
#include <unistd.h>

static volatile int work;

__attribute__((noipa)) static void crash(int *p)
{
    usleep(100 * 1000);
    *(volatile int *)p = 1;
    work++;
}

static void *worker(void *argument)
{
    crash(argument);
    work++;
    return 0;
}

int main(void)
{
    pthread_t thread;
    pthread_create(&thread, 0, worker, 0);
    pthread_exit(0);
}
