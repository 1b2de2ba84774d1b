/* Hand-written functions whose unwind information needs DWARF expressions:
   hand_outer: the CFA is read from memory (DW_CFA_def_cfa_expression with DW_OP_deref);
   hand_inner: rbx is found by DW_CFA_expression, rbp by DW_CFA_val_expression, which computes it,
   and both values are needed to walk hand_outer. */
        .text
        .globl  hand_outer
        .type   hand_outer, @function
hand_outer:
        .cfi_startproc
        push    %rbx
        .cfi_adjust_cfa_offset 8
        push    %rbp
        .cfi_adjust_cfa_offset 8
        lea     24(%rsp), %rax          /* the CFA */
        sub     $56, %rsp
        mov     %rax, 16(%rsp)          /* kept in a slot that rbp points 32 bytes below */
        lea     -16(%rsp), %rbp
        mov     %rsp, %rbx
        /* CFA = *(rbp + 32): breg6 32, deref */
        .cfi_escape 0x0f, 3, 0x76, 32, 0x06
        .cfi_offset %rbx, -16
        .cfi_offset %rbp, -24
        call    hand_inner
        lea     72(%rbx), %rsp
        .cfi_def_cfa %rsp, 8
        mov     -8(%rsp), %rbx
        .cfi_restore %rbx
        mov     -16(%rsp), %rbp
        .cfi_restore %rbp
        ret
        .cfi_endproc
        .size   hand_outer, . - hand_outer

        .type   hand_inner, @function
hand_inner:
        .cfi_startproc
        sub     $40, %rsp
        .cfi_adjust_cfa_offset 40
        mov     %rbx, (%rsp)
        /* rbx is saved at CFA - 48: constant 48 taken off the CFA on the stack: lit16, lit3, mul, minus */
        .cfi_escape 0x10, 3, 4, 0x40, 0x33, 0x1e, 0x1c
        /* rbp is rbx - 16, rbx being what the slot holds: breg7 0, deref, lit16, minus */
        .cfi_escape 0x16, 6, 5, 0x77, 0x00, 0x06, 0x40, 0x1c
        xor     %ebx, %ebx
        mov     $-1, %rbp
        mov     %rdi, %rax
        mov     %esi, %edi
        call    *%rax
        mov     (%rsp), %rbx
        lea     -16(%rbx), %rbp
        add     $40, %rsp
        .cfi_adjust_cfa_offset -40
        .cfi_restore %rbx
        .cfi_restore %rbp
        ret
        .cfi_endproc
        .size   hand_inner, . - hand_inner
        .section .note.GNU-stack, "", @progbits
