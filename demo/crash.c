/* A shop's order processing that crashes: five threads, three of which wait for work.
 *
 * The orders' items form a tree. One leaf was never filled in, and its price is asked for
 * down a recursion, through a call that the compiler expands in place.
 */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

struct price {
    const char *currency;
    long whole, cents;
};

struct item {
    const char *name;
    const struct price *price;
    const struct item *first, *second;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work_arrived = PTHREAD_COND_INITIALIZER;
static int jobs_waiting;
static pthread_barrier_t everybody_is_there;

static inline __attribute__((always_inline)) long cents_of(const struct price *price)
{
    return price->whole * 100 + price->cents;
}

__attribute__((noinline)) static long total(const struct item *item)
{
    if (!item)
        return 0;
    long sum = total(item->first) + total(item->second);
    return sum + cents_of(item->price);
}

__attribute__((noinline)) static void print_bill(const struct item *order)
{
    printf("%ld\n", total(order));
}

static void *handle_order(void *unused)
{
    struct price ten = {"EUR", 10, 0};
    struct item gift = {"gift", NULL, NULL, NULL};
    struct item box = {"box", &ten, &gift, NULL};
    struct item shipment = {"shipment", &ten, NULL, &box};
    pthread_barrier_wait(&everybody_is_there);
    usleep(50000); /* until the others really wait */
    print_bill(&shipment);
    return unused;
}

__attribute__((noinline)) static void next_job(void)
{
    pthread_mutex_lock(&lock);
    while (!jobs_waiting)
        pthread_cond_wait(&work_arrived, &lock);
    jobs_waiting--;
    pthread_mutex_unlock(&lock);
}

static void *worker(void *unused)
{
    pthread_barrier_wait(&everybody_is_there);
    for (;;)
        next_job();
    return unused;
}

int main(void)
{
    pthread_t workers[3], order;
    pthread_barrier_init(&everybody_is_there, NULL, 4);
    for (int i = 0; i < 3; i++)
        pthread_create(&workers[i], NULL, worker, NULL);
    pthread_create(&order, NULL, handle_order, NULL);
    pthread_join(order, NULL);
    return 0;
}
