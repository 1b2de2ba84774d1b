/* Hand-written functions with frame pointers and no unwind information at all:
   hand_outer(f, x) calls hand_inner(f, x), which calls f(x). */
        .text
        .globl  hand_outer
        .type   hand_outer, %function
        .type   hand_inner, %function
#if defined(__x86_64__)
hand_outer:
        push    %rbp
        mov     %rsp, %rbp
        sub     $32, %rsp
        call    hand_inner
        leave
        ret
        .size   hand_outer, . - hand_outer
hand_inner:
        push    %rbp
        mov     %rsp, %rbp
        push    %rbx
        sub     $24, %rsp
        mov     %rdi, %rax
        mov     %esi, %edi
        call    *%rax
        mov     -8(%rbp), %rbx
        leave
        ret
        .size   hand_inner, . - hand_inner
#elif defined(__i386__)
hand_outer:
        push    %ebp
        mov     %esp, %ebp
        sub     $24, %esp
        mov     12(%ebp), %eax
        mov     %eax, 4(%esp)
        mov     8(%ebp), %eax
        mov     %eax, (%esp)
        call    hand_inner
        leave
        ret
        .size   hand_outer, . - hand_outer
hand_inner:
        push    %ebp
        mov     %esp, %ebp
        sub     $24, %esp
        mov     12(%ebp), %eax
        mov     %eax, (%esp)
        call    *8(%ebp)
        leave
        ret
        .size   hand_inner, . - hand_inner
#elif defined(__aarch64__)
hand_outer:
        stp     x29, x30, [sp, #-48]!
        mov     x29, sp
        bl      hand_inner
        ldp     x29, x30, [sp], #48
        ret
        .size   hand_outer, . - hand_outer
hand_inner:
        stp     x29, x30, [sp, #-32]!
        mov     x29, sp
        mov     x2, x0
        mov     w0, w1
        blr     x2
        ldp     x29, x30, [sp], #32
        ret
        .size   hand_inner, . - hand_inner
#endif
        .section .note.GNU-stack, "", %progbits
