/* A library of the Unix side, whose loading never ends: for a call into Unix code that is no
   system call. Without a C library, so that a compiler without 32-bit headers makes it, too. */

static void pause_for_ever(void)
{
    for (;;) {
#ifdef __x86_64__
        long result = 34; /* pause */
        __asm__ volatile("syscall" : "+a"(result) : : "rcx", "r11", "memory");
#else
        long result = 29;
        __asm__ volatile("int $0x80" : "+a"(result) : : "memory");
#endif
    }
}

__attribute__((constructor, noinline)) static void blocker_constructor(void)
{
    pause_for_ever();
    __asm__ volatile("");
}
