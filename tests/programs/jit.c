/* Code made at run time, in memory that belongs to no file, with frame pointers:
   main -> run -> (made code) -> callback. */
#include <string.h>
#include <sys/mman.h>

static volatile int work;
static int *volatile nowhere; /* read at run time: a constant null would become a trap */

__attribute__((noipa)) static int callback(int x)
{
    *nowhere = x;
    return work;
}

__attribute__((noipa)) static int run(int (*made)(int (*)(int), int), int x)
{
    int r = made(callback, x);
    work = r;
    return r + x;
}

int main(int argc, char **argv)
{
    static const unsigned char code[] = {
        0x55,                   /* push rbp */
        0x48, 0x89, 0xe5,       /* mov rbp, rsp */
        0x48, 0x83, 0xec, 0x20, /* sub rsp, 32 */
        0x48, 0x89, 0xf8,       /* mov rax, rdi */
        0x89, 0xf7,             /* mov edi, esi */
        0xff, 0xd0,             /* call rax */
        0xc9,                   /* leave */
        0xc3,                   /* ret */
    };
    (void)argv;
    char *page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(page + 256, code, sizeof code);
    work = run((int (*)(int (*)(int), int))(page + 256), argc);
    return 0;
}
