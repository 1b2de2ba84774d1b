/* A process with one of each kind of memory, which says where each is, and waits.
 *
 * layout FILE: one line "ready NAME=ADDRESS …", then it sleeps until it is killed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS 2

static pthread_barrier_t barrier;
static void *arenas[THREADS], *stacks[THREADS], *signal_stacks[THREADS];
static long ids[THREADS];
static char zeros[65536];
static int data = 1;

static void on_signal(int number)
{
    (void)number;
    pthread_barrier_wait(&barrier);
    for (;;)
        pause();
}

static void *work(void *argument)
{
    long index = (long)argument;
    int local = 0;
    stack_t alternate = {.ss_size = 65536};
    arenas[index] = malloc(1000);
    stacks[index] = &local;
    ids[index] = syscall(SYS_gettid);
    alternate.ss_sp = signal_stacks[index] = malloc(alternate.ss_size);
    sigaltstack(&alternate, NULL);
    pthread_kill(pthread_self(), SIGUSR1);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    size_t page = 4096;
    int file = open(argc > 1 ? argv[1] : argv[0], O_RDONLY);
    int memory = memfd_create("made-up", 0);
    void *mapped = mmap(NULL, page, PROT_READ, MAP_PRIVATE, file, 0);
    void *code = mmap(NULL, page, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *shared = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    void *named, *held, *plain;
    void *large = malloc(8 << 20), *small = malloc(100);

    if (ftruncate(memory, page))
        return 1;
    named = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    held = mmap(NULL, 16 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    plain = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    setlocale(LC_ALL, "C.UTF-8");
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    sigaction(SIGUSR1, &action, NULL);
    for (long index = 0; index < THREADS; index++)
        pthread_create(&threads[index], NULL, work, (void *)index);
    pthread_barrier_wait(&barrier);
    printf("ready file=%p code=%p shared=%p memfd=%p held=%p plain=%p large=%p heap=%p bss=%p "
           "data=%p text=%p main=%p",
           mapped, code, shared, named, held, plain, large, small, (void *)(zeros + 32768),
           (void *)&data, (void *)main, (void *)&action);
    for (int index = 0; index < THREADS; index++)
        printf(" arena%d=%p stack%d=%p tid%d=0x%lx", index, arenas[index], index, stacks[index],
               index, ids[index]);
    printf("\n");
    fflush(stdout);
    for (;;)
        pause();
}
