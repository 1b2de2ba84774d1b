/* What calls main() where there is no C library: a root that says it is one. argc is right. */
        .text
        .globl  _start
        .type   _start, %function
_start:
#if defined(__arm__)
        .arm
        .fnstart
        .cantunwind
        mov     fp, #0
        mov     lr, #0
        ldr     r0, [sp]
        add     r1, sp, #4
        bl      main
        udf     #1
        .fnend
        /* What the exception index of C code refers to. */
        .globl  __aeabi_unwind_cpp_pr0
__aeabi_unwind_cpp_pr0:
        .globl  __aeabi_unwind_cpp_pr1
__aeabi_unwind_cpp_pr1:
        udf     #2
#else
        .cfi_startproc
#if defined(__x86_64__)
        .cfi_undefined %rip
        xor     %ebp, %ebp
        mov     (%rsp), %rdi
        lea     8(%rsp), %rsi
        and     $-16, %rsp
        call    main
        hlt
#elif defined(__i386__)
        .cfi_undefined %eip
        xor     %ebp, %ebp
        mov     (%esp), %eax
        lea     4(%esp), %ecx
        and     $-16, %esp
        sub     $8, %esp
        push    %ecx
        push    %eax
        call    main
        hlt
#elif defined(__aarch64__)
        .cfi_undefined x30
        mov     x29, #0
        mov     x30, #0
        ldr     x0, [sp]
        add     x1, sp, #8
        bl      main
        brk     #1
#endif
        .cfi_endproc
#endif
        .size   _start, . - _start
        .section .note.GNU-stack, "", %progbits
