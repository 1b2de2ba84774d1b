/* No C library: a program and core of a few kilobytes. Three functions below _start. */
static volatile int work;
static int *volatile nowhere; /* read at run time: a constant null would become a trap */

__attribute__((noipa)) int crash(int *p, int x)
{
    *(volatile int *)p = x;
    return work;
}

__attribute__((noipa)) int middle(int *p, int x)
{
    int r = crash(p, x + 1);
    work = r;
    return r + x;
}

__attribute__((noipa)) int entry(int x)
{
    int r = middle(nowhere, x + 1);
    work = r;
    return r;
}

#if defined(__x86_64__)
__asm__(".globl _start\n.type _start,@function\n_start:\n.cfi_startproc\n.cfi_undefined %rip\n"
        "xor %ebp,%ebp\nmov $1,%edi\nand $-16,%rsp\ncall entry\nhlt\n.cfi_endproc\n.size _start,.-_start\n");
#elif defined(__i386__)
__asm__(".globl _start\n.type _start,@function\n_start:\n.cfi_startproc\n.cfi_undefined %eip\n"
        "xor %ebp,%ebp\nand $-16,%esp\npush $0\npush $0\npush $0\npush $1\ncall entry\nhlt\n.cfi_endproc\n.size _start,.-_start\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n.type _start,%function\n_start:\n.cfi_startproc\n.cfi_undefined x30\n"
        "mov x29,#0\nmov x30,#0\nmov w0,#1\nbl entry\nbrk #1\n.cfi_endproc\n.size _start,.-_start\n");
#endif
