/* Functions as the x64 ABI allows them and compilers seldom write them (GNU as).
   Each returns some function of rcx. */

        .text

/* A frame register with an offset, not rbp, and memory allocated afterwards. */
        .globl form_frame_register
        .seh_proc form_frame_register
form_frame_register:
        push %rsi
        .seh_pushreg %rsi
        push %r13
        .seh_pushreg %r13
        sub $0x88, %rsp
        .seh_stackalloc 0x88
        lea 0x40(%rsp), %r13
        .seh_setframe %r13, 0x40
        .seh_endprologue
        mov %rcx, %rsi
        sub $0x120, %rsp
        call leaf
        add $0x20, %rsp                 /* no epilogue: a jump inside of the function follows */
        jmp 1f
        nop
1:      add %rsi, %rax
        lea 0x48(%r13), %rsp
        pop %r13
        pop %rsi
        ret
        .seh_endproc

/* The largest offset that there is. */
        .globl form_long_frame_register
        .seh_proc form_long_frame_register
form_long_frame_register:
        push %rbp
        .seh_pushreg %rbp
        push %r15
        .seh_pushreg %r15
        sub $0x408, %rsp
        .seh_stackalloc 0x408
        lea 0xf0(%rsp), %rbp
        .seh_setframe %rbp, 0xf0
        mov %rdi, 0x200(%rbp)
        .seh_savereg %rdi, 0x2f0
        .seh_endprologue
        mov %rcx, %rdi
        mov %rcx, %r15
        and $-0x40, %rsp
        call leaf
        mov 0x200(%rbp), %rdi
        lea 0x318(%rbp), %rsp
        pop %r15
        pop %rbp
        ret
        .seh_endproc

/* Registers are pushed after the frame register is set, then memory is allocated: the ABI's
   own rules make it impossible to tell from rsp where they are, so nothing is called then. */
        .globl form_early_frame_register
        .seh_proc form_early_frame_register
form_early_frame_register:
        push %rbp
        .seh_pushreg %rbp
        mov %rsp, %rbp
        .seh_setframe %rbp, 0
        push %rbx
        .seh_pushreg %rbx
        push %r12
        .seh_pushreg %r12
        sub $0x20, %rsp
        .seh_stackalloc 0x20
        .seh_endprologue
        mov %rcx, %rbx
        mov %rcx, %r12
        sub $0x40, %rsp
        call leaf
        lea -0x10(%rbp), %rsp
        pop %r12
        pop %rbx
        pop %rbp
        ret
        .seh_endproc

/* Registers saved by mov, which compilers note at the end of the prologue. */
        .globl form_saved
        .seh_proc form_saved
form_saved:
        mov %rbx, 8(%rsp)
        mov %r14, 16(%rsp)
        push %rdi
        .seh_pushreg %rdi
        sub $0x40, %rsp
        .seh_stackalloc 0x40
        .seh_savereg %rbx, 0x50
        .seh_savereg %r14, 0x58
        movaps %xmm6, 0x20(%rsp)
        .seh_savexmm %xmm6, 0x20
        .seh_endprologue
        mov %rcx, %rbx
        mov %rcx, %r14
        mov %rcx, %rdi
        call leaf
        movaps 0x20(%rsp), %xmm6
        mov 0x50(%rsp), %rbx
        mov 0x58(%rsp), %r14
        add $0x40, %rsp
        pop %rdi
        rep ret
        .seh_endproc

/* The forms with 32-bit sizes and offsets. */
        .globl form_far
        .seh_proc form_far
form_far:
        push %rsi
        .seh_pushreg %rsi
        mov $0x90000, %eax
        call ___chkstk_ms
        sub %rax, %rsp
        .seh_stackalloc 0x90000
        mov %rbx, 0x88000(%rsp)
        .seh_savereg %rbx, 0x88000
        movaps %xmm7, 0x80010(%rsp)
        .seh_savexmm %xmm7, 0x80010
        .seh_endprologue
        mov %rcx, %rbx
        mov %rcx, %rsi
        call leaf
        mov 0x88000(%rsp), %rbx
        movaps 0x80010(%rsp), %xmm7
        add $0x90000, %rsp
        pop %rsi
        ret
        .seh_endproc

/* A jump through a register that stays in the function. */
        .globl form_jump_table
        .seh_proc form_jump_table
form_jump_table:
        push %rbx
        .seh_pushreg %rbx
        sub $0x20, %rsp
        .seh_stackalloc 0x20
        .seh_endprologue
        lea 2f(%rip), %rbx
        and $3, %ecx
        movslq (%rbx,%rcx,4), %rax
        add %rbx, %rax
        jmp *%rax
3:      call leaf
        jmp 5f
4:      mov $7, %eax
5:      add $0x20, %rsp
        pop %rbx
        ret
        .balign 4
2:      .long 3b-2b, 4b-2b, 5b-2b, 3b-2b
        .seh_endproc

/* Every way to end in a jump: to a function, through a register, and through memory. */
        .globl form_tail
        .seh_proc form_tail
form_tail:
        push %r12
        .seh_pushreg %r12
        push %rbx
        .seh_pushreg %rbx
        sub $0x28, %rsp
        .seh_stackalloc 0x28
        .seh_endprologue
        mov %rcx, %r12
        mov %rcx, %rbx
        call leaf
        mov %rbx, %rcx
        lea form_saved(%rip), %rdx
        cmp $1, %rcx
        je 1f
        cmp $2, %rcx
        je 2f
        jg 3f
        add $0x28, %rsp
        pop %rbx
        pop %r12
        jmp form_saved
1:      add $0x28, %rsp
        pop %rbx
        pop %r12
        .byte 0x48, 0xff, 0xe2          /* rex.W jmp *%rdx */
2:      add $0x28, %rsp
        pop %rbx
        pop %r12
        jmp *4f(%rip)
3:      mov %rdx, 0x20(%rsp)
        lea 0x20(%rsp), %r8
        add $0x28, %rsp
        pop %rbx
        pop %r12
        .byte 0x49, 0xff, 0x20          /* rex.WB jmp *(%r8) */
        .balign 8
4:      .quad form_saved
        .seh_endproc

/* What a processor's interrupt pushes, without and with an error code. Never executed. */
        .seh_proc form_interrupted
form_interrupted:
        .seh_pushframe
        sub $0x40, %rsp
        .seh_stackalloc 0x40
        mov %rbx, 0x20(%rsp)
        .seh_savereg %rbx, 0x20
        .seh_endprologue
        nop
        ud2
        .seh_endproc

        .seh_proc form_fault
form_fault:
        .seh_pushframe code
        push %rbp
        .seh_pushreg %rbp
        mov %rsp, %rbp
        .seh_setframe %rbp, 0
        sub $0x148, %rsp
        .seh_stackalloc 0x148
        .seh_endprologue
        nop
        ud2
        .seh_endproc
