/* Two threads, of which at every moment at least one is in hold(): who enters relieves the other.
 *
 * Says "ready" when both have been there.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

static volatile int owner = -1;
static volatile long turns;

__attribute__((noipa)) void hold(int me)
{
    __atomic_store_n(&owner, me, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&owner, __ATOMIC_SEQ_CST) == me)
        sched_yield();
}

__attribute__((noipa)) static void rest(int me)
{
    volatile int i;
    (void)me;
    for (i = 0; i < 3000000; i++)
        ;
    turns++;
}

static void *work(void *argument)
{
    int me = (int)(long)argument;
    for (;;) {
        hold(me);
        rest(me);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[2];
    long i;
    for (i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    while (turns < 4)
        sched_yield();
    puts("ready");
    fflush(stdout);
    pthread_join(threads[0], NULL);
    return 0;
}
