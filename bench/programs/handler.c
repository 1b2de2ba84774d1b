/* A core handler that runs another one and says what it took.

   usage: handler OUTPUT COMMAND [ARGUMENT...], by way of core_pattern
   The core on standard input is the command's. Appends "STATUS WALL_NS CPU_US PEAK_KB READ" to the
   file OUTPUT: PEAK_KB of the larger one of the command and its children, READ the bytes that all
   of them have read, by whatever call. */
#include <stdio.h>

#include "took.h"

static void command(char **arguments)
{
    execv(arguments[0], arguments);
}

int main(int argc, char **argv)
{
    struct took took;
    if (argc < 3)
        return 64;
    if (run(command, argv + 2, &took))
        return 1;
    long long read = 0;
    char line[80];
    /* A process's counters include those of children that it has waited for. */
    FILE *counters = fopen("/proc/self/io", "r");
    if (counters && fgets(line, sizeof line, counters))
        sscanf(line, "rchar: %lld", &read);
    FILE *out = fopen(argv[1], "a");
    if (!out)
        return 1;
    fprintf(out, "%d %lld %lld %ld %lld\n", took.status, took.wall, took.cpu, took.peak, read);
    return fclose(out);
}
