/* Crashes at one chosen instruction of a prologue or epilogue (STEP 0 to 4), where the rule for
   the caller changes from one instruction to the next. */
        .text
        .globl  hand_outer
        .type   hand_outer, @function
hand_outer:
        .cfi_startproc
#if STEP == 0
        ud2
#endif
        push    %rbp
        .cfi_def_cfa_offset 16
        .cfi_offset %rbp, -16
#if STEP == 1
        ud2
#endif
        mov     %rsp, %rbp
        .cfi_def_cfa_register %rbp
#if STEP == 2
        ud2
#endif
        sub     $64, %rsp
        push    %rbx
        .cfi_offset %rbx, -88
        xor     %ebx, %ebx
        .cfi_remember_state
        cmp     $77, %esi
        je      1f
        pop     %rbx
        .cfi_restore %rbx
#if STEP == 3
        ud2
#endif
        leave
        .cfi_restore %rbp
        .cfi_def_cfa %rsp, 8
#if STEP == 4
        ud2
#endif
        ret
1:      .cfi_restore_state
        ud2
        .cfi_endproc
        .size   hand_outer, . - hand_outer
        .section .note.GNU-stack, "", @progbits
