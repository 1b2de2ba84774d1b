/* Code that is made in the hole between two segments of a library, and calls a function that waits.
   It says where that code is in a map for perf. x86-64. */
#define _GNU_SOURCE
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int in_library(int (*made)(void));

static uintptr_t hole;

static int look(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    for (int i = 0; strstr(info->dlpi_name, "libholes.so") && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *each = &info->dlpi_phdr[i];
        if (each->p_type == PT_LOAD && each->p_flags & PF_X)
            hole = ((info->dlpi_addr + each->p_vaddr + each->p_memsz) | 0xfff) + 1 + 0x10000;
    }
    return hole != 0;
}

__attribute__((noinline)) int waits(void)
{
    char byte;

    puts("ready");
    fflush(stdout);
    return (int)read(0, &byte, 1);
}

int main(int argc, char **argv)
{
    /* push rbp; mov rbp, rsp; mov rax, waits; call rax; pop rbp; ret */
    unsigned char code[] = {
        0x55, 0x48, 0x89, 0xe5, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xd0, 0x5d, 0xc3,
    };
    uintptr_t callee = (uintptr_t)waits;
    FILE *map = argc > 1 ? fopen(argv[1], "w") : NULL;
    void *place;

    dl_iterate_phdr(look, NULL);
    place = mmap((void *)hole, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (hole == 0 || map == NULL || place == MAP_FAILED)
        return 1;
    memcpy(code + 6, &callee, sizeof callee);
    memcpy(place, code, sizeof code);
    fprintf(map, "%lx %zx made_in_the_hole\n", (unsigned long)hole, sizeof code);
    fclose(map);
    return in_library((int (*)(void))place);
}
