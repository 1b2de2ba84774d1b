/* x86: threads that wait with known values in a vector register: four times 0x01010101 * index in
   register 7, of which the first thread has index 1. With an argument the first one says "ready"
   and waits as well, else it crashes. */
#include <pthread.h>
#include <stdio.h>

static int parked;

#if defined(__x86_64__)
#define HOLD(then) \
    __asm__ volatile("movups (%0), %%xmm7\n\tlock incl (%1)\n1:\n\t" then "\n\tjmp 1b" \
                     : : "r"(values), "r"(&parked) : "rax", "rcx", "r11", "memory", "xmm7")
#define WAIT "mov $34, %%eax\n\tsyscall"
#define CRASH "movl $1, 8"
#else
#define HOLD(then) \
    __asm__ volatile("movups (%0), %%xmm7\n\tlock incl (%1)\n1:\n\t" then "\n\tjmp 1b" \
                     : : "r"(values), "r"(&parked) : "eax", "memory")
#define WAIT "mov $29, %%eax\n\tint $0x80"
#define CRASH "movl $1, 8"
#endif

#define FILL(values, index) \
    unsigned values[4] = {(index) * 0x01010101u, (index) * 0x01010101u, \
                          (index) * 0x01010101u, (index) * 0x01010101u}

static void *hold(void *index)
{
    FILL(values, (unsigned)(unsigned long)index);
    HOLD(WAIT);
    return 0;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    (void)argv;
    for (unsigned long index = 2; index < 5; index++)
        pthread_create(&thread, 0, hold, (void *)index);
    while (__atomic_load_n(&parked, __ATOMIC_SEQ_CST) < 3)
        ;
    FILL(values, 1u);
    if (argc > 1) {
        puts("ready");
        fflush(stdout);
        HOLD(WAIT);
    }
    HOLD(CRASH);
}
