/* Code that is loaded by hand and shown to debuggers by GDB's JIT interface:
   main -> run -> made_outer -> made_middle -> made_inner -> callback.

   The argument is an ELF object, of made.c. A relocatable one is loaded section by section, and
   what the debugger gets is a copy of the file with nothing changed but the sections' addresses,
   as LLVM does it; "-DAPART" puts a megabyte between them. A linked one is loaded where it wants
   to be, and shown as it is. With "-DHIDDEN" nothing is shown. With "-DFAR" data are far from code,
   and libgcc is told of the unwind table. */
#define _GNU_SOURCE
#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef ElfW(Ehdr) Ehdr;
typedef ElfW(Shdr) Shdr;
typedef ElfW(Phdr) Phdr;
typedef ElfW(Sym) Sym;
typedef ElfW(Rela) Rela;
typedef ElfW(Rel) Rel;

struct jit_code_entry {
    struct jit_code_entry *next_entry, *prev_entry;
    const char *symfile_addr;
    uint64_t symfile_size;
};

struct jit_descriptor {
    uint32_t version, action_flag;
    struct jit_code_entry *relevant_entry, *first_entry;
};

struct jit_descriptor __jit_debug_descriptor = {1, 0, 0, 0};

__attribute__((noipa)) void __jit_debug_register_code(void)
{
    __asm__ volatile("" ::: "memory");
}

static void show(char *file, size_t size)
{
    static struct jit_code_entry entry;
    entry.symfile_addr = file;
    entry.symfile_size = size;
    __jit_debug_descriptor.first_entry = __jit_debug_descriptor.relevant_entry = &entry;
    __jit_debug_descriptor.action_flag = 1;
    __jit_debug_register_code();
}

#ifdef APART
enum { GAP = 1 << 20 };
#else
enum { GAP = 0 };
#endif

static void *memory(void *where, size_t size)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | (where ? MAP_FIXED : 0);
    void *p = mmap(where, size, PROT_READ | PROT_WRITE | PROT_EXEC, flags, -1, 0);
    if (p == MAP_FAILED)
        abort();
    return p;
}

static void relocate(char *at, unsigned type, uintptr_t value, intptr_t addend, int in_place)
{
    uintptr_t here = (uintptr_t)at;
    int32_t word;
    memcpy(&word, at, 4);
    if (in_place)
        addend = word;
    enum { NONE, ABSOLUTE, ABSOLUTE_8, RELATIVE, RELATIVE_8, BRANCH } kind = NONE;
    switch (type) {
#if defined __x86_64__
    case R_X86_64_64: kind = ABSOLUTE_8; break;
    case R_X86_64_PC64: kind = RELATIVE_8; break;
    case R_X86_64_PC32: case R_X86_64_PLT32: kind = RELATIVE; break;
#elif defined __i386__
    case R_386_32: kind = ABSOLUTE; break;
    case R_386_PC32: case R_386_PLT32: kind = RELATIVE; break;
#elif defined __aarch64__
    case R_AARCH64_ABS64: kind = ABSOLUTE_8; break;
    case R_AARCH64_PREL64: kind = RELATIVE_8; break;
    case R_AARCH64_PREL32: kind = RELATIVE; break;
    case R_AARCH64_CALL26: case R_AARCH64_JUMP26:
        word = (word & 0xfc000000) | ((value + addend - here) >> 2 & 0x03ffffff);
        memcpy(at, &word, 4);
        return;
#elif defined __arm__
    case R_ARM_ABS32: kind = ABSOLUTE; break;
    case R_ARM_REL32: kind = RELATIVE; break;
    case R_ARM_CALL: case R_ARM_JUMP24:
        addend = (int32_t)((uint32_t)word << 8) >> 6;
        word = (word & 0xff000000) | ((value + addend - here) >> 2 & 0x00ffffff);
        memcpy(at, &word, 4);
        return;
    case R_ARM_PREL31:
        word = (word & 0x80000000) | ((value + addend - here) & 0x7fffffff);
        memcpy(at, &word, 4);
        return;
    case R_ARM_NONE: return;
#endif
    }
    uintptr_t result = value + addend - (kind == RELATIVE || kind == RELATIVE_8 ? here : 0);
    if (kind == NONE)
        abort();
    memcpy(at, &result, kind == ABSOLUTE_8 || kind == RELATIVE_8 ? 8 : 4);
}

static void load_relocatable(char *file)
{
    Ehdr *head = (Ehdr *)file;
    Shdr *sections = (Shdr *)(file + head->e_shoff);
    size_t room = 0;
    for (int i = 0; i < head->e_shnum; i++)
        if (sections[i].sh_flags & SHF_ALLOC)
            room += sections[i].sh_size + GAP + 64;
    char *at = memory(0, room);
#ifdef FAR
    char *code = at, *data = memory(at - (256 << 20), room);
#endif
    for (int i = 0; i < head->e_shnum; i++)
        if (sections[i].sh_flags & SHF_ALLOC && sections[i].sh_size) {
#ifdef FAR
            char **arena = sections[i].sh_flags & SHF_EXECINSTR ? &code : &data;
            at = *arena;
            *arena += sections[i].sh_size + 64;
#endif
            at += GAP;
            at += -(uintptr_t)at & 63;
            memcpy(at, file + sections[i].sh_offset, sections[i].sh_size);
            sections[i].sh_addr = (uintptr_t)at;
            at += sections[i].sh_size;
        }
    for (int i = 0; i < head->e_shnum; i++) {
        Shdr *table = &sections[i];
        if ((table->sh_type != SHT_RELA && table->sh_type != SHT_REL)
            || !(sections[table->sh_info].sh_flags & SHF_ALLOC))
            continue;
        Sym *symbols = (Sym *)(file + sections[table->sh_link].sh_offset);
        char *base = (char *)(uintptr_t)sections[table->sh_info].sh_addr;
        int rela = table->sh_type == SHT_RELA;
        for (size_t n = 0; n < table->sh_size / table->sh_entsize; n++) {
            Rela *r = (Rela *)(file + table->sh_offset + n * table->sh_entsize);
            Sym *symbol = &symbols[sizeof(void *) == 8 ? (uint64_t)r->r_info >> 32 : r->r_info >> 8];
            unsigned type = sizeof(void *) == 8 ? (uint32_t)r->r_info : (uint8_t)r->r_info;
            relocate(base + r->r_offset, type, symbol->st_value + sections[symbol->st_shndx].sh_addr,
                     rela ? (intptr_t)r->r_addend : 0, !rela);
        }
    }
}

#ifdef FAR
void __register_frame(void *table);

static void tell_libgcc(char *file)
{
    Ehdr *head = (Ehdr *)file;
    Shdr *sections = (Shdr *)(file + head->e_shoff);
    char *names = file + sections[head->e_shstrndx].sh_offset;
    for (int i = 0; i < head->e_shnum; i++)
        if (!strcmp(names + sections[i].sh_name, ".eh_frame"))
            __register_frame((void *)(uintptr_t)sections[i].sh_addr);
}
#endif

static void load_linked(char *file)
{
    Ehdr *head = (Ehdr *)file;
    Phdr *segments = (Phdr *)(file + head->e_phoff);
    uintptr_t low = -1, high = 0;
    for (int i = 0; i < head->e_phnum; i++)
        if (segments[i].p_type == PT_LOAD) {
            uintptr_t start = segments[i].p_vaddr & -4096, end = segments[i].p_vaddr + segments[i].p_memsz;
            low = start < low ? start : low;
            high = end > high ? end : high;
        }
    memory((void *)low, high - low);
    for (int i = 0; i < head->e_phnum; i++)
        if (segments[i].p_type == PT_LOAD)
            memcpy((void *)(uintptr_t)segments[i].p_vaddr, file + segments[i].p_offset, segments[i].p_filesz);
}

static uintptr_t find(char *file, const char *name)
{
    Ehdr *head = (Ehdr *)file;
    Shdr *sections = (Shdr *)(file + head->e_shoff);
    for (int i = 0; i < head->e_shnum; i++)
        if (sections[i].sh_type == SHT_SYMTAB) {
            Sym *symbols = (Sym *)(file + sections[i].sh_offset);
            char *names = file + sections[sections[i].sh_link].sh_offset;
            for (size_t n = 0; n < sections[i].sh_size / sizeof(Sym); n++)
                if (!strcmp(names + symbols[n].st_name, name))
                    return symbols[n].st_value
                        + (head->e_type == ET_REL ? sections[symbols[n].st_shndx].sh_addr : 0);
        }
    abort();
}

static volatile int work;
static int *volatile nowhere; /* read at run time: a constant null would become a trap */

__attribute__((noipa)) static int callback(int x)
{
    *nowhere = x;
    return work;
}

typedef int (*Made)(int (*)(int), int);

__attribute__((noipa)) static int run(Made made, int x)
{
    int r = made(callback, x);
    work = r;
    return r + x;
}

int main(int argc, char **argv)
{
    FILE *stream = argc > 1 ? fopen(argv[1], "rb") : 0;
    if (!stream)
        return 2;
    fseek(stream, 0, SEEK_END);
    size_t size = ftell(stream);
    rewind(stream);
    char *file = malloc(size);
    if (fread(file, 1, size, stream) != size)
        return 2;
    fclose(stream);
    if (((Ehdr *)file)->e_type == ET_REL)
        load_relocatable(file);
    else
        load_linked(file);
    __builtin___clear_cache((char *)find(file, "made_inner"), (char *)find(file, "made_inner") + 4096);
#ifdef FAR
    tell_libgcc(file);
#endif
#ifndef HIDDEN
    show(file, size);
#endif
    work = run((Made)find(file, "made_outer"), argc);
    return 0;
}
