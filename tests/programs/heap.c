/* Blocks of several sizes from malloc, and where they are: "ready NAME=ADDRESS …"; then it waits. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
    char *volatile small = malloc(100), *volatile page = malloc(5000);
    char *volatile large = malloc(8 << 20), *volatile last = NULL;
    int i;
    for (i = 0; i < 3000; i++) {
        free(last); /* without a call of free, musl's static malloc is a simpler one */
        last = malloc(600 + i % 7);
        malloc(700);
    }
    printf("ready small=%p page=%p large=%p last=%p\n", small, page, large, last);
    fflush(stdout);
    for (;;)
        pause();
}
