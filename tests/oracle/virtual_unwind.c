/* Asks Windows' own unwinder, RtlVirtualUnwind, what the caller's registers are.

   virtual_unwind REQUESTS RESULTS MODULE...

   A MODULE is a DLL's name, "-" for this program, or "@FILE|TABLE|COUNT" for the bytes of a
   made-up image in FILE, whose COUNT RUNTIME_FUNCTIONs are at offset TABLE.

   A request is a module's number, an RVA in it (32 bits each) and the value of rbp. The
   other registers, and every word of the stack, have values that follow from nothing but
   their number and address, see below; so the answer says where everything was found.
   A result is the registers in the order of their numbers, rip, and what was done. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

enum { LEAF, UNWOUND, FAULT };

#define STACK_BASE 0x200000000ull
#define STACK_SIZE 0x1000000ull
#define RSP_VALUE (STACK_BASE + 0x100000)
#define REGISTER(number) (STACK_BASE + 0x800000 + (number) * 0x10000ull)
#define WORD(address) ((address) ^ 0x5a00000000000000ull)

struct request { uint32_t module, rva; uint64_t rbp; };
struct result { uint64_t registers[17]; uint64_t status; };

static void *resume[5];

static LONG CALLBACK on_fault(EXCEPTION_POINTERS *pointers)
{
    if (pointers->ExceptionRecord->ExceptionCode != STATUS_ACCESS_VIOLATION || !resume[0])
        return EXCEPTION_CONTINUE_SEARCH;
    __builtin_longjmp(resume, 1);
}

static char *load_made_up(const char *what)
{
    char path[512];
    unsigned table, count;
    if (sscanf(what, "@%511[^|]|%u|%u", path, &table, &count) != 3) return NULL;
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    char *base = VirtualAlloc(NULL, 4 << 20, MEM_COMMIT | MEM_RESERVE, PAGE_EXECUTE_READWRITE);
    size_t got = fread(base, 1, 4 << 20, file);
    fclose(file);
    if (got <= table) return NULL;
    return RtlAddFunctionTable((RUNTIME_FUNCTION *)(base + table), count, (DWORD64)base) ? base : NULL;
}

static char *load(const char *what)
{
    if (*what == '@') return load_made_up(what);
    if (*what == '-') return (char *)GetModuleHandleA(NULL);
    HMODULE module = GetModuleHandleA(what);
    return (char *)(module ? module : LoadLibraryExA(what, NULL, DONT_RESOLVE_DLL_REFERENCES));
}

static void unwind(uint64_t pc, uint64_t rbp, struct result *result)
{
    static CONTEXT context;
    DWORD64 base, frame;
    void *data;
    uint64_t *registers = (uint64_t *)&context.Rax;
    memset(&context, 0, sizeof context);
    for (int i = 0; i < 16; i++) registers[i] = REGISTER(i);
    context.Rsp = RSP_VALUE;
    context.Rbp = rbp;
    context.Rip = pc;
    if (__builtin_setjmp(resume))
        result->status = FAULT;
    else {
        RUNTIME_FUNCTION *function = RtlLookupFunctionEntry(pc, &base, NULL);
        result->status = function ? UNWOUND : LEAF;
        if (function)
            RtlVirtualUnwind(UNW_FLAG_NHANDLER, base, pc, function, &context, &data, &frame, NULL);
        else {
            context.Rip = *(uint64_t *)context.Rsp;
            context.Rsp += 8;
        }
    }
    resume[0] = NULL;
    memcpy(result->registers, registers, sizeof result->registers);
}

int main(int argc, char **argv)
{
    static char *modules[256];
    if (argc < 4 || argc > 250) return 2;
    for (int i = 3; i < argc; i++)
        if (!(modules[i - 3] = load(argv[i]))) {
            fprintf(stderr, "%s cannot be loaded\n", argv[i]);
            return 3;
        }
    uint64_t *stack = VirtualAlloc((void *)STACK_BASE, STACK_SIZE, MEM_COMMIT | MEM_RESERVE,
                                   PAGE_READWRITE);
    if (stack != (void *)STACK_BASE) return 4;
    for (uint64_t i = 0; i < STACK_SIZE / 8; i++) stack[i] = WORD(STACK_BASE + 8 * i);
    AddVectoredExceptionHandler(1, on_fault);

    FILE *in = fopen(argv[1], "rb"), *out = fopen(argv[2], "wb");
    if (!in || !out) return 5;
    struct request request;
    while (fread(&request, sizeof request, 1, in)) {
        struct result result;
        unwind((uint64_t)modules[request.module] + request.rva, request.rbp, &result);
        fwrite(&result, sizeof result, 1, out);
    }
    return fclose(out);
}
