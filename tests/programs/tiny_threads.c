/* No C library, x86-64: three threads parked at different depths, made by bare clone calls. With
   an argument the first thread says "ready" and waits too, else it crashes. */
#define STACK 4096

static volatile int work;
static volatile int parked;
static int *volatile nowhere;
static char stacks[3][STACK] __attribute__((aligned(16)));

static inline long call(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

/* clone with a stack on which the function and its argument lie; the child never returns. */
long spawn(long flags, void *stack);
__asm__(".globl spawn\n.type spawn,@function\nspawn:\n.cfi_startproc\n"
        "mov $56,%eax\nxor %edx,%edx\nxor %r10d,%r10d\nxor %r8d,%r8d\nsyscall\n"
        "test %rax,%rax\nje 1f\nret\n"
        "1:\n.cfi_undefined %rip\nxor %ebp,%ebp\npop %rax\npop %rdi\ncall *%rax\nhlt\n"
        ".cfi_endproc\n.size spawn,.-spawn\n");

__attribute__((noipa)) void park(void)
{
    __sync_fetch_and_add(&parked, 1);
    call(34, 0, 0, 0); /* pause */
    work++;
}

__attribute__((noipa)) void descend(long depth)
{
    if (depth > 1)
        descend(depth - 1);
    else
        park();
    work++;
}

__attribute__((noipa)) void worker(long index)
{
    descend(index + 1);
    work++;
}

__attribute__((noipa)) void crash(int *p)
{
    *(volatile int *)p = 1;
    work++;
}

int main(int argc)
{
    for (long i = 0; i < 3; i++) {
        long *top = (long *)(stacks[i] + STACK) - 4;
        top[0] = (long)worker;
        top[1] = i;
        spawn(0x50f00, top); /* VM, FS, FILES, SIGHAND, THREAD, SYSVSEM */
    }
    long wait[2] = {0, 1000 * 1000};
    while (parked < 3)
        call(35, (long)wait, 0, 0); /* nanosleep */
    if (argc > 1) {
        call(1, 1, (long)"ready\n", 6);
        park();
    }
    crash(nowhere);
    work++;
    return 0;
}
