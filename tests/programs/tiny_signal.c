/* No C library, x86-64, aarch64 and arm: a fault whose handler, on an alternate stack, crashes. The
   x86-64 trampoline has no unwind information: its instructions alone tell what it is. */
static volatile int work;
static int *volatile nowhere;
static char stack[8192] __attribute__((aligned(16)));

struct action {
    void (*handler)(int);
    unsigned long flags;
#if defined(__x86_64__) || defined(__arm__)
    void (*restorer)(void);
#endif
    unsigned long mask[8 / sizeof(long)];
};

struct alternate {
    void *start;
    int flags;
    unsigned long size;
};

#if defined(__x86_64__)
#define RT_SIGACTION 13
#define SIGALTSTACK 131
static inline long call(long number, long a, long b, long c, long d)
{
    long result;
    register long fourth __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return result;
}

void __restore_rt(void);
__asm__(".globl __restore_rt\n.type __restore_rt,@function\n"
        "__restore_rt:\nmov $15,%rax\nsyscall\n.size __restore_rt,.-__restore_rt\n");
#elif defined(__arm__)
#define RT_SIGACTION 174
#define SIGALTSTACK 186
static inline long call(long number, long a, long b, long c, long d)
{
    register long r7 __asm__("r7") = number, r0 __asm__("r0") = a, r1 __asm__("r1") = b;
    register long r2 __asm__("r2") = c, r3 __asm__("r3") = d;
    __asm__ volatile("svc #0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2), "r"(r3) : "memory");
    return r0;
}
#else
#define RT_SIGACTION 134
#define SIGALTSTACK 132
static inline long call(long number, long a, long b, long c, long d)
{
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c, x3 __asm__("x3") = d;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
#endif

__attribute__((noipa)) void crash(int *p)
{
    *(volatile int *)p = 1;
    work++;
}

__attribute__((noipa)) void handler(int signal)
{
    crash((int *)(long)(signal + 5)); /* 16: told apart from the first fault */
    work++;
}

__attribute__((noipa)) void victim(int *p)
{
    *(volatile int *)p = 2;
    work++;
}

int main(void)
{
    struct alternate alternate = {stack, 0, sizeof stack};
    struct action action = {.handler = handler, .flags = 0x08000000}; /* ONSTACK */
#if defined(__x86_64__)
    action.flags |= 0x04000000; /* RESTORER */
    action.restorer = __restore_rt;
#endif
    call(SIGALTSTACK, (long)&alternate, 0, 0, 0);
    call(RT_SIGACTION, 11, (long)&action, 0, 8);
    victim(nowhere);
    work++;
    return 0;
}
