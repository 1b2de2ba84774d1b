/* Runs a command and says what it took.

   usage: measure OUTPUT COMMAND [ARGUMENT...]
   Standard output and error of the command go to the file OUTPUT. Prints
   "STATUS WALL_NS CPU_US PEAK_KB", the first as wait(2) gives it.

   A process's peak memory begins with what its parent had when it forked, so that a Python
   program that measures other programs would find none smaller than itself. This one is small. */
#include <fcntl.h>
#include <stdio.h>

#include "took.h"

static void command(char **arguments)
{
    int out = open(arguments[0], O_WRONLY | O_CREAT | O_TRUNC, 0666);
    int in = open("/dev/null", O_RDONLY);
    if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(126);
    close(in);
    close(out);
    execvp(arguments[1], arguments + 1);
}

int main(int argc, char **argv)
{
    struct took took;
    if (argc < 3)
        return 64;
    if (run(command, argv + 1, &took))
        return 1;
    printf("%d %lld %lld %ld\n", took.status, took.wall, took.cpu, took.peak);
    return 0;
}
