/* A hand-written leaf without unwind information or frame: it crashes while its return address
   is still where the call left it. */
        .text
        .globl  hand_outer
        .type   hand_outer, %function
hand_outer:
#if defined(__x86_64__)
        xor     %eax, %eax
        mov     %esi, 8(%rax)
        ret
#elif defined(__aarch64__)
        mov     x2, #0
        str     w1, [x2, #8]
        ret
#endif
        .size   hand_outer, . - hand_outer
        .section .note.GNU-stack, "", %progbits
