"""Registers and instructions, beside disassemblers and compilers."""
