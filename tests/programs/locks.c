/* Threads that wait for each other, each in a known way. argv: MODE [arguments]; says "ready". */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST 2000

static pthread_mutex_t locks[MOST];
static pthread_barrier_t start;
static pthread_rwlock_t rwlocks[2] = {PTHREAD_RWLOCK_INITIALIZER, PTHREAD_RWLOCK_INITIALIZER};
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t never;
static sem_t none;
static int count, kind;

struct shared {
    pthread_mutex_t mutex[3];
    volatile int initialised, held;
};

static void init_mutex(pthread_mutex_t *mutex, int shared)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    if (kind == 'r') pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    if (kind == 'e') pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    if (kind == 'R') pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
#ifndef __MUSL__
    if (kind == 'a') pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    if (kind == 'p') pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
#endif
    if (shared) pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(mutex, &attributes);
}

static __attribute__((noinline)) void take(pthread_mutex_t *mutex)
{
    pthread_mutex_lock(mutex);
    __asm__ volatile("");
}

static __attribute__((noinline)) void *ring(void *argument)
{
    long index = (long)argument;
    take(&locks[index]);
    pthread_barrier_wait(&start);
    take(&locks[(index + 1) % count]);
    return NULL;
}

static void *follow(void *argument)
{
    take(&locks[(long)argument]);
    return NULL;
}

static void *read_then_write(void *argument)
{
    pthread_rwlock_rdlock(&rwlocks[0]);
    pthread_barrier_wait(&start);
    pthread_rwlock_wrlock(&rwlocks[1]);
    return argument;
}

static void *write_then_write(void *argument)
{
    pthread_rwlock_wrlock(&rwlocks[1]);
    pthread_barrier_wait(&start);
    pthread_rwlock_wrlock(&rwlocks[0]);
    return argument;
}

static void *write_then_mutex(void *argument)
{
    pthread_rwlock_wrlock(&rwlocks[0]);
    pthread_barrier_wait(&start);
    take(&locks[0]);
    return argument;
}

static void *mutex_then_read(void *argument)
{
    take(&locks[0]);
    pthread_barrier_wait(&start);
    pthread_rwlock_rdlock(&rwlocks[0]);
    return argument;
}

static void *wait_cond(void *argument)
{
    pthread_mutex_lock(&locks[0]);
    for (;;) pthread_cond_wait(&cond, &locks[0]);
    return argument;
}

/* Waits for a signal, gets it from one who keeps the mutex, and wants that mutex again. */
static volatile int waiting;

static void *wait_for_signal(void *argument)
{
    take(&locks[1]);
    waiting = 1;
    pthread_cond_wait(argument, &locks[1]);
    return argument;
}

static void *signal_and_wait(void *argument)
{
    while (!waiting) usleep(100);
    take(&locks[1]);
    pthread_cond_signal(argument);
    take(&locks[2]);
    return argument;
}

static void *wait_barrier(void *argument)
{
    pthread_barrier_wait(&never);
    return argument;
}

static void *wait_semaphore(void *argument)
{
    sem_wait(&none);
    return argument;
}

/* What an unwinder that takes a lock in the callback does, and who loads a library with it held. */
static int in_callback(struct dl_phdr_info *info, size_t size, void *argument)
{
    (void)info, (void)size, (void)argument;
    pthread_barrier_wait(&start);
    take(&locks[0]);
    return 1;
}

static void *iterate(void *argument)
{
    dl_iterate_phdr(in_callback, argument);
    return NULL;
}

static void *load(void *argument)
{
    take(&locks[0]);
    pthread_barrier_wait(&start);
    dl_iterate_phdr(in_callback, argument);
    return NULL;
}

static void *end_with_lock(void *argument)
{
    take(&locks[0]);
    return argument;
}

static FILE *file;

static void *file_then_mutex(void *argument)
{
    flockfile(file);
    pthread_barrier_wait(&start);
    take(&locks[0]);
    return argument;
}

static void *mutex_then_file(void *argument)
{
    take(&locks[0]);
    pthread_barrier_wait(&start);
    putc('x', file);
    return argument;
}

/* Holds it for reading, and wants it again behind a writer, who comes first. */
static void *read_twice(void *argument)
{
    pthread_rwlock_rdlock(&rwlocks[0]);
    pthread_barrier_wait(&start);
    sleep(1);
    pthread_rwlock_rdlock(&rwlocks[0]);
    return argument;
}

static void *write_between(void *argument)
{
    pthread_barrier_wait(&start);
    pthread_rwlock_wrlock(&rwlocks[0]);
    return argument;
}

static void *sleeping(void *argument)
{
    for (;;) pause();
    return argument;
}

/* As Proton's fsync waits: for any of several words in memory that is shared by its name. */
static void *wait_any(void *argument)
{
    struct { uint64_t value, address; uint32_t flags, reserved; } all[2] = {
        {1, (uint64_t)(uintptr_t)argument, 2, 0},
        {0, (uint64_t)(uintptr_t)argument + 8, 2, 0},
    };
    syscall(449, all, 2, 0, NULL, 0);
    return NULL;
}

static int *map_words(const char *path)
{
    int file = open(path, O_RDWR | O_CREAT, 0600);
    int *words = MAP_FAILED;
    if (!ftruncate(file, 4096))
        words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    words[0] = words[1] = 1;
    return words;
}

static void *join(void *argument)
{
    pthread_join(*(pthread_t *)argument, NULL);
    return NULL;
}

static pthread_t joined[3];

static void *join_next(void *argument)
{
    pthread_barrier_wait(&start);
    pthread_join(joined[((long)argument + 1) % 3], NULL);
    return NULL;
}

/* A mutex as Rust's and others' are: a word, 0, 1 or 2, which does not say who holds it. */
static int bare;

static void *take_bare(void *argument)
{
    while (__atomic_exchange_n(&bare, 2, __ATOMIC_ACQUIRE))
        syscall(SYS_futex, &bare, 128, 2, NULL, NULL, 0);
    return argument;
}

/* What a library's constructor calls, which holds the dynamic linker's lock meanwhile. */
void in_constructor(void)
{
    pthread_barrier_wait(&start);
    take(&locks[0]);
}

static void *load_library(void *argument)
{
    return dlopen(argument, RTLD_NOW);
}

static void *hold_and_load(void *argument)
{
    take(&locks[0]);
    pthread_barrier_wait(&start);
    return dlopen(argument, RTLD_NOW);
}

static pthread_t make(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 1 << 16);
    if (pthread_create(&thread, &attributes, run, argument)) abort();
    return thread;
}

/* One of so many processes that take their own mutex, and then the next one's. */
static void share(const char *path, int role, int parties)
{
    int file = open(path, O_RDWR);
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (role == 0) {
        for (int i = 0; i < parties; i++) init_mutex(&shared->mutex[i], 1);
        shared->initialised = 1;
    }
    while (!shared->initialised) usleep(100);
    take(&shared->mutex[role]);
    __sync_fetch_and_add(&shared->held, 1);
    while (shared->held < parties) usleep(100);
    puts("ready");
    take(&shared->mutex[(role + 1) % parties]);
}

static void lock_file(int file, int wait)
{
    if (kind == 'f') {
        flock(file, LOCK_EX);
    } else {
        struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
#ifdef F_OFD_SETLKW
        if (kind == 'o') {
            fcntl(file, wait ? F_OFD_SETLKW : F_OFD_SETLK, &range);
            return;
        }
#endif
        fcntl(file, wait ? F_SETLKW : F_SETLK, &range);
    }
}

/* Two files, one locked at once, the other when a byte comes on standard input. */
static void lock_files(const char *first, const char *second)
{
    int files[2] = {open(first, O_RDWR), open(second, O_RDWR)};
    lock_file(files[0], 0);
    puts("ready");
    getchar();
    lock_file(files[1], 1);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    setvbuf(stdout, NULL, _IOLBF, 0);
    count = argc > 2 ? atoi(argv[2]) : 0;
    kind = argc > 3 ? argv[argc - 1][0] : 'n';
    for (int i = 0; i < MOST; i++) init_mutex(&locks[i], 0);
    if (!strcmp(mode, "share")) share(argv[2], atoi(argv[3]), atoi(argv[4]));
    if (!strcmp(mode, "files")) lock_files(argv[2], argv[3]);
    if (!strcmp(mode, "ring") || !strcmp(mode, "behind")) {
        pthread_barrier_init(&start, NULL, count + 1);
        for (long i = 0; i < count; i++) make(ring, (void *)i);
        pthread_barrier_wait(&start);
        for (long i = 0; i < (mode[0] == 'b' ? 3 : 0); i++) make(follow, (void *)0);
    } else if (!strcmp(mode, "convoy")) {
        take(&locks[0]);
        for (long i = 0; i < count; i++) make(follow, (void *)0);
    } else if (!strcmp(mode, "self")) {
        take(&locks[0]);
        puts("ready");
        take(&locks[0]);
    } else if (!strcmp(mode, "readers")) {
        pthread_barrier_init(&start, NULL, 2);
        make(read_then_write, NULL);
        make(write_then_write, NULL);
    } else if (!strcmp(mode, "gone")) {
        pthread_join(make(end_with_lock, NULL), NULL);
        puts("ready");
        take(&locks[0]);
    } else if (!strcmp(mode, "file")) {
        file = fopen("/dev/null", "w");
        pthread_barrier_init(&start, NULL, 2);
        make(file_then_mutex, NULL);
        make(mutex_then_file, NULL);
#ifndef __MUSL__
    } else if (!strcmp(mode, "prefer")) {
        pthread_rwlockattr_t attributes;
        pthread_rwlockattr_init(&attributes);
        pthread_rwlockattr_setkind_np(
            &attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
        pthread_rwlock_init(&rwlocks[0], &attributes);
        pthread_barrier_init(&start, NULL, 2);
        make(write_between, NULL);
        puts("ready");
        read_twice(NULL);
#endif
    } else if (!strcmp(mode, "signal")) {
        static pthread_cond_t signalled = PTHREAD_COND_INITIALIZER;
        take(&locks[2]);
        make(wait_cond, NULL);
        make(signal_and_wait, &signalled);
        pthread_t waiter = make(wait_for_signal, &signalled);
        puts("ready");
        pthread_join(waiter, NULL);
    } else if (!strcmp(mode, "loader")) {
        pthread_barrier_init(&start, NULL, 2);
        make(iterate, NULL);
        make(load, NULL);
    } else if (!strcmp(mode, "joins")) {
        pthread_barrier_init(&start, NULL, 4);
        for (long i = 0; i < 3; i++) joined[i] = make(join_next, (void *)i);
        pthread_barrier_wait(&start);
    } else if (!strcmp(mode, "bare")) {
        bare = 1;
        make(take_bare, NULL);
        make(take_bare, NULL);
    } else if (!strcmp(mode, "dlopen")) {
        pthread_barrier_init(&start, NULL, 2);
        make(load_library, argv[2]);
        make(hold_and_load, argv[2]);
    } else if (!strcmp(mode, "vector")) {
        make(wait_any, map_words(argv[2]));
    } else if (!strcmp(mode, "writer")) {
        pthread_barrier_init(&start, NULL, 2);
        make(write_then_mutex, NULL);
        make(mutex_then_read, NULL);
    } else if (!strcmp(mode, "others")) {
        static pthread_t sleeper;
        pthread_barrier_init(&never, NULL, 3);
        sem_init(&none, 0, 0);
        make(wait_cond, NULL);
        make(wait_barrier, NULL);
        make(wait_semaphore, NULL);
        sleeper = make(sleeping, NULL);
        make(join, &sleeper);
    }
    puts("ready");
    for (;;) pause();
}
