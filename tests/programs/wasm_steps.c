/* Runs wasm_host one instruction at a time from one SIGTRAP of its own to the next, and writes
   down the registers and the stack at each instruction of Wasm code, thrice at most.

   wasm_steps OUTPUT HOST ARGUMENTS...

   A record is eight-byte words: pc, stack pointer, frame pointer, link register (0 on x86-64), two
   counts, and so many words of two kinds: the return address of each call that was seen since the
   first SIGTRAP, the newest first, which are the callers whatever a function does to its stack;
   and the stack from the stack pointer up to a kilobyte above where it was at the first SIGTRAP,
   deep in the function that sent it. */
#define _GNU_SOURCE
#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CALLS = 4096, WORDS = 1024, IMAGES = 8, PLACES = 1 << 20, OFTEN = 3, LONGEST = 15, ABOVE = 1024 };

struct place { uint64_t pc, sp, fp, link; };
struct call { uint64_t back, sp; };

static struct call calls[CALLS];
static int depth;
static uint64_t images[IMAGES][2];
static int image_count;
static unsigned char seen[PLACES];
static pid_t host;

static struct place where(void)
{
    struct user_regs_struct registers;
    struct iovec part = {&registers, sizeof registers};
    ptrace(PTRACE_GETREGSET, host, NT_PRSTATUS, &part);
#ifdef __x86_64__
    return (struct place){registers.rip, registers.rsp, registers.rbp, 0};
#else
    return (struct place){registers.pc, registers.sp, registers.regs[29], registers.regs[30]};
#endif
}

static uint64_t word(uint64_t address)
{
    return ptrace(PTRACE_PEEKDATA, host, address, 0);
}

/* The return address if the step was a call, else 0. */
static uint64_t called(const struct place *before, const struct place *now)
{
#ifdef __x86_64__
    uint64_t back = now->sp == before->sp - 8 ? word(now->sp) : 0;
    /* A push leaves no address behind itself, and goes on there. */
    return back > before->pc && back <= before->pc + LONGEST && now->pc != back ? back : 0;
#else
    bool jumped = now->pc != before->pc + 4;
    return jumped && now->link == before->pc + 4 && before->link != now->link ? now->link : 0;
#endif
}

static bool returned(const struct place *now)
{
#ifdef __x86_64__
    return depth && now->pc == calls[depth - 1].back && now->sp > calls[depth - 1].sp - 8;
#else
    return depth && now->pc == calls[depth - 1].back && now->sp >= calls[depth - 1].sp;
#endif
}

static bool is_new(uint64_t pc)
{
    for (int i = 0; i < image_count; i++)
        if (pc >= images[i][0] && pc < images[i][1]) {
            uint64_t place = (pc - images[0][0]) % PLACES;
            return seen[place]++ < OFTEN;
        }
    return false;
}

static void record(FILE *output, const struct place *now, uint64_t base)
{
    uint64_t words = (base - now->sp) / 8;
    uint64_t counts[2] = {depth, words > WORDS ? WORDS : words};
    fwrite(now, sizeof *now, 1, output);
    fwrite(counts, sizeof counts, 1, output);
    for (int i = depth; i-- > 0;)
        fwrite(&calls[i].back, 8, 1, output);
    for (uint64_t i = 0; i < counts[1]; i++) {
        uint64_t value = word(now->sp + 8 * i);
        fwrite(&value, 8, 1, output);
    }
}

/* Steps until the host's own signal: what a step itself leaves has another code. */
static void step_through(FILE *output)
{
    struct place before = where(), now;
    uint64_t base = before.sp + ABOVE;
    int status;
    for (;;) {
        uint64_t back;
        siginfo_t why;
        ptrace(PTRACE_SINGLESTEP, host, 0, 0);
        waitpid(host, &status, 0);
        if (!WIFSTOPPED(status))
            exit(3);
        ptrace(PTRACE_GETSIGINFO, host, 0, &why);
        if (why.si_code <= 0)
            return;
        now = where();
        back = called(&before, &now);
        if (back && depth < CALLS)
            calls[depth++] = (struct call){back, before.sp};
        else
            while (returned(&now))
                depth--;
        if (is_new(now.pc))
            record(output, &now, base);
        before = now;
    }
}

/* The host says {"images": [[0x1, 0x2], ...]}, in decimal, before it sends itself the signal. */
static void read_images(FILE *said)
{
    char line[1 << 16];
    while (fgets(line, sizeof line, said)) {
        char *at = line;
        fputs(line, stdout);
        if (strncmp(line, "{\"images\"", 9))
            continue;
        while (image_count < IMAGES && (at = strpbrk(at, "0123456789"))) {
            images[image_count][0] = strtoull(at, &at, 10);
            at = strpbrk(at, "0123456789");
            images[image_count++][1] = strtoull(at, &at, 10);
        }
        return;
    }
}

int main(int count, char **arguments)
{
    int ends[2], status, traps = 0, number;
    FILE *output;
    if (count < 3 || pipe(ends))
        return 2;
    host = fork();
    if (!host) {
        dup2(ends[1], 1);
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        execv(arguments[2], arguments + 2);
        _exit(127);
    }
    close(ends[1]);
    output = fopen(arguments[1], "wb");
    waitpid(host, &status, 0); /* the exec */
    ptrace(PTRACE_CONT, host, 0, 0);
    while (waitpid(host, &status, 0) > 0 && WIFSTOPPED(status)) {
        number = WSTOPSIG(status);
        if (number == SIGTRAP && !traps++) {
            read_images(fdopen(ends[0], "r"));
            step_through(output);
            number = SIGTRAP;
        }
        ptrace(PTRACE_CONT, host, 0, number == SIGTRAP ? 0 : number);
    }
    fclose(output);
    return WIFSIGNALED(status) ? 0 : 3;
}
