/* Built with -fsanitize=address: its shadow is 16 TiB of the address space, its heap 4 TiB. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
    char *block = malloc(1000);
    unsigned long shadow = ((unsigned long)block >> 3) + 0x7fff8000;

    printf("ready heap=%p shadow=%#lx\n", (void *)block, shadow);
    fflush(stdout);
    for (;;)
        pause();
}
