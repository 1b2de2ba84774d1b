/* A process with many threads that dies of a null write.

   usage: parked THREADS DEPTH MEGABYTES ZERO
   THREADS - 1 threads are parked DEPTH calls deep in pause, read or a condition variable; then
   the main thread writes to address 0, also DEPTH calls deep. No two threads have the same
   stack: which of sixteen functions calls which other one depends on the thread's number.
   MEGABYTES of heap are written before: random bytes, or, if ZERO is 1, zeros in 255 pages of
   256.
   Recursion of DEPTH 500,000 needs a soft stack limit of 128 MB. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t started;
static int quiet[2];
static long depth;
static volatile int work;

typedef void function(long thread, long level);
static function *const functions[16];

__attribute__((noipa)) static void park(long thread)
{
    char byte;
    if (thread == 0)
        *(volatile int *)thread = 7;
    pthread_barrier_wait(&started);
    switch (thread % 3) {
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

/* Inlined into each of the sixteen, so that debuggers have inlined calls to show. */
__attribute__((always_inline)) static inline void descend(long thread, long level)
{
    if (level >= depth)
        park(thread);
    else
        functions[(thread >> level % 13 ^ level) & 15](thread, level + 1);
    work++;
}

#define FUNCTION(name, size)                                                                      \
    __attribute__((noipa)) static void name(long thread, long level)                              \
    {                                                                                             \
        volatile long local[size];                                                                \
        local[0] = thread;                                                                        \
        descend(thread, level);                                                                   \
        work += local[0];                                                                         \
    }

FUNCTION(read_header, 1)
FUNCTION(read_body, 3)
FUNCTION(parse_object, 5)
FUNCTION(parse_array, 2)
FUNCTION(parse_string, 1)
FUNCTION(lookup_symbol, 4)
FUNCTION(lookup_scope, 7)
FUNCTION(evaluate_call, 2)
FUNCTION(evaluate_branch, 1)
FUNCTION(evaluate_loop, 6)
FUNCTION(store_result, 3)
FUNCTION(store_index, 1)
FUNCTION(flush_page, 2)
FUNCTION(flush_journal, 5)
FUNCTION(visit_parent, 1)
FUNCTION(visit_child, 4)

static function *const functions[16] = {
    read_header,     read_body,     parse_object, parse_array, parse_string, lookup_symbol,
    lookup_scope,    evaluate_call, evaluate_branch, evaluate_loop, store_result, store_index,
    flush_page,      flush_journal, visit_parent, visit_child,
};

static void *worker(void *thread)
{
    functions[(long)thread & 15]((long)thread, 2);
    work++;
    return NULL;
}

static void start_threads(long count)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    pthread_barrier_init(&started, NULL, count + 1);
    for (long number = 1; number <= count; number++)
        if (pthread_create(&thread, &attributes, worker, (void *)number)) {
            perror("pthread_create");
            exit(2);
        }
    pthread_barrier_wait(&started);
    usleep(200 * 1000 + count * 50); /* let the last ones reach their system call */
}

static void fill(long megabytes, int zero)
{
    if (!megabytes)
        return;
    size_t size = (size_t)megabytes << 20;
    uint64_t *heap = mmap(NULL, size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (heap == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    uint64_t value = 88172645463325252;
    for (size_t at = 0; at < size / 8; at++) {
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
        heap[at] = zero && at / 512 % 256 ? 0 : value;
    }
}

int main(int argc, char **argv)
{
    if (argc != 5 || pipe(quiet))
        return 64;
    depth = atol(argv[2]);
    fill(atol(argv[3]), atoi(argv[4]));
    start_threads(atol(argv[1]) - 1);
    read_header(0, 1);
    return 0;
}
