/* A program with secrets in each place where a dump could take them along: on its stack, in
   vector registers, in general registers, on the heap, in arguments and environment (those are
   given by the caller). It says "ready" and waits, or crashes if its first argument is "crash".

   The secrets are put together at run time, so that the program's file, whose bytes are no
   secret, does not hold them. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define noinline __attribute__((noipa))

static void spell(char *out, const char *word)
{
    for (int at = 0; word[at]; at++)
        out[at] = word[at] ^ 0x20; /* the words below are in the other case */
    out[strlen(word)] = 0;
}

noinline static void inner(const char *what, uint64_t number)
{
    char local[32];
    spell(local, "sECRETonSTACK");
#if defined __x86_64__ || defined __i386__
    /* As memcpy and strlen leave whatever they worked on. */
    char vector[16] = {0};
    spell(vector, "vECTORsECRET");
    asm volatile("movups %0, %%xmm7" : : "m"(vector));
    memset(vector, 0, sizeof vector);
#endif
#ifdef __x86_64__
    asm volatile("mov %0, %%r12\n\tmov %0, %%r13" : : "r"(number) : "r12", "r13");
#endif
    if (!strcmp(what, "crash")) {
        asm volatile("" : : "r"(local) : "memory");
        *(volatile int *)8 = 1;
    }
    if (write(1, "ready\n", 6) < 0)
        return;
    pause();
    asm volatile("" : : "r"(local) : "memory");
}

noinline static void outer(const char *what, char *heap)
{
    uint64_t number;
    memcpy(&number, heap, sizeof number);
    inner(what, number);
    asm volatile("");
}

int main(int count, char **arguments)
{
    char *heap = malloc(64);
    spell(heap, "hEAPSECRET");
    outer(count > 1 ? arguments[1] : "", heap);
    return 0;
}
