/* Processes that are hard to hold, for tests of reading live ones.

   usage: live MODE [ARGUMENT]; each says "ready" when it is as described.

   count       THREADS threads; every signal SIGRTMIN+1 is counted, with its value. A line on
               standard input is answered with "COUNT SUM".
   exec N      a thread other than the first replaces the program by itself, N times, one after
               the other; between them all its threads are started anew. Then "done".
   spawn       threads that start further threads and end, all the time
   short       the same, each of them ending at once
   leader      the first thread has ended, another one is in park_here()
   vfork       waits for its vfork child, which sleeps; a second thread sleeps as well
   alt KIND    a thread in a signal handler on an alternate stack: in .bss ("static"), from
               malloc ("heap"), mapped ("mapped"), inside of the thread's own ("own"), or on a
               coroutine's stack that the signal interrupted ("coroutine")
   deep BYTES [ADDRESS]
               a thread that uses so much stack, which is mapped at an address
   jit         in park_here(), called by code made at run time (x86-64)
   park        three threads in park_here() */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define THREADS 16
#define noinline __attribute__((noipa))

static volatile int work;

static void ready(const char *word)
{
    if (write(1, word, strlen(word)) < 0)
        exit(3);
}

noinline static void park_here(void)
{
    pause();
    work++;
}

static pthread_t start(void *(*function)(void *), void *argument)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, function, argument);
    if (error) {
        fprintf(stderr, "pthread_create: %s\n", strerror(error));
        exit(2);
    }
    return thread;
}

static void *parked(void *unused)
{
    for (;;)
        park_here();
    return unused;
}

/* --- count --- */

static atomic_long count, sum;

static void counted(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    count++;
    sum += info->si_value.sival_int;
}

static void *spinning(void *unused)
{
    for (;;)
        work++;
    return unused;
}

static void count_signals(void)
{
    struct sigaction action = {.sa_sigaction = counted, .sa_flags = SA_SIGINFO | SA_RESTART};
    char line[64];
    sigaction(SIGRTMIN + 1, &action, NULL);
    for (int i = 0; i < THREADS - 1; i++)
        start(i ? parked : spinning, NULL);
    ready("ready\n");
    while (fgets(line, sizeof line, stdin)) {
        printf("%ld %ld\n", count, sum);
        fflush(stdout);
    }
}

/* --- exec --- */

static char **arguments;

static void *replace(void *unused)
{
    char left[16];
    snprintf(left, sizeof left, "%d", atoi(arguments[2]) - 1);
    usleep(3000);
    execl("/proc/self/exe", arguments[0], arguments[1], left, NULL);
    exit(3);
    return unused;
}

/* --- spawn, short --- */

static atomic_int alive;

static void *spawning(void *unused)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    alive++;
    usleep(500);
    for (int i = 0; i < 2 && alive < 60; i++)
        pthread_create(&thread, &attributes, spawning, NULL);
    alive--;
    return unused;
}

static void *short_lived(void *unused)
{
    work++;
    return unused;
}

/* --- vfork --- */

static void wait_for_vfork(void)
{
    pid_t child = vfork();
    if (child == 0) {
        for (;;)
            pause();
    }
    waitpid(child, NULL, 0);
}

/* --- alt --- */

static char static_stack[64 * 1024] __attribute__((aligned(16)));
static ucontext_t home, away;

noinline static void in_handler(void)
{
    ready("ready\n");
    for (;;)
        park_here();
}

static void handler(int number)
{
    (void)number;
    in_handler();
    work++;
}

noinline static void interrupted(void)
{
    raise(SIGUSR2);
    work++;
}

noinline static void deeper(int levels)
{
    char space[512];
    memset(space, levels, sizeof space);
    if (levels)
        deeper(levels - 1);
    else
        interrupted();
    work += space[levels & 63];
}

static void in_coroutine(void)
{
    deeper(3);
    work++;
}

static void *on_alternate_stack(void *kind)
{
    char own[64 * 1024];
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    stack_t stack = {.ss_size = 64 * 1024, .ss_sp = static_stack};
    memset(own, 0, sizeof own);
    if (!strcmp(kind, "heap"))
        stack.ss_sp = malloc(stack.ss_size);
    if (!strcmp(kind, "mapped") || !strcmp(kind, "coroutine"))
        stack.ss_sp = mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!strcmp(kind, "own"))
        stack.ss_sp = own;
    sigaltstack(&stack, NULL);
    sigaction(SIGUSR2, &action, NULL);
    if (!strcmp(kind, "coroutine")) {
        getcontext(&away);
        away.uc_stack.ss_sp = static_stack;
        away.uc_stack.ss_size = sizeof static_stack;
        away.uc_link = &home;
        makecontext(&away, in_coroutine, 0);
        swapcontext(&home, &away);
    } else
        deeper(3);
    work += own[work & 63];
    return NULL;
}

/* --- deep --- */

noinline static void use_stack(long bytes)
{
    char space[4096];
    memset(space, 1, sizeof space);
    if (bytes > 0)
        use_stack(bytes - (long)sizeof space);
    else {
        ready("ready\n");
        park_here();
    }
    work += space[work & 63];
}

static void *deep(void *bytes)
{
    use_stack((long)(intptr_t)bytes);
    return NULL;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "", *argument = argc > 2 ? argv[2] : "";
    arguments = argv;
    if (!strcmp(mode, "count"))
        count_signals();
    else if (!strcmp(mode, "exec")) {
        for (int i = 0; i < THREADS; i++)
            start(parked, NULL);
        if (atoi(argument) > 0) {
            ready("ready\n");
            start(replace, NULL);
        } else
            ready("done\n");
        park_here();
    } else if (!strcmp(mode, "spawn")) {
        ready("ready\n");
        for (;;)
            if (alive < 20)
                spawning(NULL);
            else
                usleep(500);
    } else if (!strcmp(mode, "short")) {
        ready("ready\n");
        for (;;)
            pthread_join(start(short_lived, NULL), NULL);
    } else if (!strcmp(mode, "leader")) {
        start(parked, NULL);
        ready("ready\n");
        pthread_exit(NULL);
    } else if (!strcmp(mode, "vfork")) {
        start(parked, NULL);
        ready("ready\n");
        wait_for_vfork();
    } else if (!strcmp(mode, "alt"))
        pthread_join(start(on_alternate_stack, (void *)argument), NULL);
    else if (!strcmp(mode, "altmain"))
        on_alternate_stack((void *)argument);
    else if (!strcmp(mode, "deep")) {
        pthread_t thread;
        pthread_attr_t attributes;
        size_t size = ((size_t)atol(argument) * 2 + (1 << 20)) & -4096ul;
        pthread_attr_init(&attributes);
        if (argc > 3) {
            void *place = (void *)strtoul(argv[3], NULL, 0);
            if (mmap(place, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != place)
                return 3;
            pthread_attr_setstack(&attributes, place, size);
        } else
            pthread_attr_setstacksize(&attributes, size);
        pthread_create(&thread, &attributes, deep, (void *)atol(argument));
        pthread_join(thread, NULL);
    } else if (!strcmp(mode, "jit")) {
        /* push %rbp; mov %rsp, %rbp; call *%rdi; pop %rbp; ret */
        static const char code[] = "\x55\x48\x89\xe5\xff\xd7\x5d\xc3";
        void *page = mmap(NULL, 3 << 20, PROT_READ | PROT_WRITE | PROT_EXEC,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memcpy(page, code, sizeof code);
        mprotect(page, 4096, PROT_READ | PROT_EXEC);
        munmap((char *)page + 4096, (3 << 20) - 4096);
        ready("ready\n");
        ((void (*)(void (*)(void)))page)(park_here);
        work++;
    } else if (!strcmp(mode, "park")) {
        start(parked, NULL);
        start(parked, NULL);
        ready("ready\n");
        park_here();
    } else
        return 64;
    return 0;
}
