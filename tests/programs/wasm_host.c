/* A host of Wasmtime: Wasm calls `back`, which calls Wasm, DEPTH times over, and at the end there
   something happens. First each thread lets the runtime itself say which Wasm frames there are,
   by a trap at the same place, and prints that as a line of JSON.

   Arguments are KEY=VALUE:
   depth=N    calls of `back` that call Wasm again; the one after them ends
   skip=N     in place of call N the export `skip` is called, which leaves no Wasm frame (0: none)
   end=WHAT   abort, segv (in `back`), unreachable, bounds, division (in Wasm), wait (says "ready"),
              suspend (abort while a fiber waits), tour (between two SIGTRAPs, which
              wasm_steps.c waits for, functions of all kinds are called; then abort)
   threads=N  so many threads more, each with its own store, parked 1, 2, ... calls deep
   spin=1     one thread more that counts in a loop of Wasm
   fiber=1    the first call is asynchronous: Wasm runs on a stack of its own
   move=1     the same, and the fiber goes on in another thread than began it
   flags=A,B  sign (return addresses), debug (debug information), bare (no unwind tables) */
#define _GNU_SOURCE
#include "wasm_host.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOIPA __attribute__((noipa))
#define NEVER_INLINE __attribute__((noinline, noclone))

static const char LIBRARY[] =
    "(module $library"
    "  (import \"host\" \"back\" (func $back (param i32)))"
    "  (func (export \"nameless\") (param i32) (call $back (local.get 0)) (call $back (i32.const -1)))"
    "  (func $relay (export \"relay\") (param i32)"
    "    (call $back (local.get 0)) (call $back (i32.const -1))))";

static const char DEMO[] =
    "(module $demo"
    "  (import \"host\" \"back\" (func $back (param i32)))"
    "  (import \"host\" \"wait\" (func $wait))"
    "  (import \"library\" \"relay\" (func $relay (param i32)))"
    "  (import \"library\" \"nameless\" (func $far (param i32)))"
    "  (type $step (func (param i32)))"
    "  (memory (export \"memory\") 1 1)"
    "  (table funcref (elem $inner $odd))"
    "  (func $inner (param i32)"
    "    (i32.store (i32.const 8) (local.get 0))"
    "    (call $relay (local.get 0))"
    "    (i32.store (i32.const 8) (i32.const 0)))"
    "  (func $odd (param i32)"
    "    (call $far (local.get 0))"
    "    (i32.store (i32.const 8) (i32.const 1)))"
    /* Many values that outlive a call: a frame with saved and spilled registers. */
    "  (func $mid (param $n i32) (param $a i64) (param $b f64)"
    "    (local $c i64) (local $d i64) (local $e i64) (local $f i64) (local $g i64) (local $h v128)"
    "    (local.set $c (i64.mul (local.get $a) (i64.const 3)))"
    "    (local.set $d (i64.xor (local.get $c) (i64.const 5)))"
    "    (local.set $e (i64.add (local.get $d) (local.get $c)))"
    "    (local.set $f (i64.rotl (local.get $e) (local.get $a)))"
    "    (local.set $g (i64.sub (local.get $f) (local.get $d)))"
    "    (local.set $h (i64x2.splat (local.get $g)))"
    "    (call_indirect (type $step) (local.get $n) (i32.and (local.get $n) (i32.const 1)))"
    "    (i64.store (i32.const 16) (i64.add (local.get $g) (i64.add (local.get $f) (i64.add"
    "      (local.get $e) (i64.add (local.get $d) (i64.add (local.get $c) (local.get $a)))))))"
    "    (f64.store (i32.const 24) (local.get $b))"
    "    (v128.store (i32.const 32) (local.get $h)))"
    "  (func $go (export \"go\") (param i32)"
    "    (call $mid (local.get 0) (i64.extend_i32_s (local.get 0)) (f64.const 1.5))"
    "    (i32.store (i32.const 8) (i32.const 2)))"
    "  (func $begin (export \"begin\") (param i32)"
    "    (call $wait) (call $go (local.get 0)) (i32.store (i32.const 8) (i32.const 3)))"
    "  (func $skip (export \"skip\") (param i32) (return_call $back (local.get 0)))"
    "  (func $count (param i32) (result i32)"
    "    (loop $again"
    "      (i32.store (i32.const 64) (i32.add (i32.load (i32.const 64)) (i32.const 1)))"
    "      (br $again)) (unreachable))"
    "  (func $spin (export \"spin\") (param i32)"
    "    (i32.store (i32.const 8) (call $count (local.get 0))))"
    "  (func $fail (param i32) (result i32)"
    "    (if (i32.eq (local.get 0) (i32.const 1)) (then (unreachable)))"
    "    (if (i32.eq (local.get 0) (i32.const 2))"
    "      (then (return (i32.load (i32.const 0x7fff0000)))))"
    "    (i32.div_s (i32.const 7) (i32.load (i32.const 0x100))))"
    /* More parameters than registers: who is called takes them off the stack. */
    "  (func $many (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) (result i64)"
    "    (i64.add (local.get 0) (i64.sub (local.get 11) (local.get 9))))"
    "  (func $few (param $n i64) (result i64)"
    "    (return_call $many (local.get $n) (local.get $n) (local.get $n) (local.get $n)"
    "      (local.get $n) (local.get $n) (local.get $n) (local.get $n) (local.get $n)"
    "      (local.get $n) (local.get $n) (local.get $n)))"
    "  (func $fewer (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) (result i64)"
    "    (return_call $few (i64.add (local.get 2) (local.get 10))))"
    "  (func $leaf (param i64) (result i64) (i64.mul (local.get 0) (i64.const 5)))"
    "  (func $down (param $n i64) (result i64)"
    "    (if (result i64) (i64.eqz (local.get $n)) (then (i64.const 7))"
    "      (else (i64.add (call $leaf (local.get $n))"
    "        (call $down (i64.sub (local.get $n) (i64.const 1)))))))"
    "  (func $tail (param $n i64) (result i64)"
    "    (if (i64.eqz (local.get $n)) (then (return (call $leaf (local.get $n)))))"
    "    (return_call $tail (i64.sub (local.get $n) (i64.const 1))))"
    "  (func $tour (export \"tour\") (param i32) (local $n i64)"
    "    (local.set $n (i64.extend_i32_u (local.get 0)))"
    "    (call $relay (i32.const -1))"
    "    (call $mid (i32.const -1) (i64.const 3) (f64.const 2))"
    "    (local.set $n (i64.add (call $down (local.get $n)) (call $tail (local.get $n))))"
    "    (local.set $n (i64.add (call $few (local.get $n)) (local.get $n)))"
    "    (i64.store (i32.const 72) (call $fewer (local.get $n) (local.get $n) (local.get $n)"
    "      (local.get $n) (local.get $n) (local.get $n) (local.get $n) (local.get $n)"
    "      (local.get $n) (local.get $n) (local.get $n) (local.get $n))))"
    "  (func $failing (export \"failing\") (param i32)"
    "    (i32.store (i32.const 8) (call $fail (local.get 0)))))";

enum end { ABORT, SEGV, UNREACHABLE, BOUNDS, DIVISION, WAIT, SUSPEND, TOUR, PARK };
static const char *const ENDS[] = {"abort", "segv", "unreachable", "bounds", "division", "wait", "suspend", "tour"};

/* A store with its instance. Only the thread that it belongs to uses it. */
struct host {
    wasmtime_context_t *context;
    wasmtime_store_t *store;
    wasmtime_linker_t *linker;
    wasmtime_func_t go, begin, skip, spin, failing, tour;
    wasmtime_call_future_t *future;
    wasmtime_val_t value;
    int polls;
    bool fibers;
    volatile uint32_t *counter;
    int depth, skipped;
    enum end end;
    bool telling; /* what the runtime says of the same calls */
    char *said;
};

static wasm_engine_t *engine;
static wasmtime_module_t *modules[2];
static pthread_barrier_t parked;
static volatile int work;
static int *volatile nowhere;

static void check(wasmtime_error_t *error, const char *what)
{
    wasm_byte_vec_t message;
    if (!error)
        return;
    wasmtime_error_message(error, &message);
    fprintf(stderr, "%s: %.*s\n", what, (int)message.size, message.data);
    exit(2);
}

static void print_frames(struct host *host, const wasm_frame_vec_t *frames)
{
    FILE *file;
    size_t size;
    file = open_memstream(&host->said, &size);
    fprintf(file, "{\"tid\": %ld, \"depth\": %d, \"skip\": %d, \"frames\": [", syscall(SYS_gettid),
            host->depth, host->skipped);
    for (size_t i = 0; i < frames->size; i++) {
        const wasm_byte_vec_t *name = wasmtime_frame_func_name(frames->data[i]);
        const wasm_byte_vec_t *module = wasmtime_frame_module_name(frames->data[i]);
        fprintf(file, "%s[\"%.*s\", \"%.*s\", %u, %zu, %zu]", i ? ", " : "",
                module ? (int)module->size : 0, module ? module->data : "",
                name ? (int)name->size : 0, name ? name->data : "",
                wasm_frame_func_index(frames->data[i]), wasm_frame_module_offset(frames->data[i]),
                wasm_frame_func_offset(frames->data[i]));
    }
    fprintf(file, "]}");
    fclose(file);
}

/* Runs a call on a stack of its own, which is the only way where functions may wait. */
NEVER_INLINE static void run_in_fiber(wasmtime_context_t *context, wasmtime_func_t *function,
                                      int argument, wasm_trap_t **trap, wasmtime_error_t **error)
{
    wasmtime_val_t value = {.of.i32 = argument};
    wasmtime_call_future_t *future =
        wasmtime_func_call_async(context, function, &value, 1, NULL, 0, trap, error);
    while (!wasmtime_call_future_poll(future))
        ;
    work++;
}

NEVER_INLINE static wasm_trap_t *enter(struct host *host, wasmtime_context_t *context, int depth,
                                       wasmtime_func_t *function, int argument)
{
    wasmtime_val_raw_t values[1] = {{.i32 = argument}};
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *error = NULL;
    if (host->fibers)
        run_in_fiber(context, function, argument, &trap, &error);
    else
        error = wasmtime_func_call_unchecked(context, function, values, 1, &trap);
    if (host->telling && !host->said) { /* the first one has all calls' frames */
        wasm_frame_vec_t frames;
        if (error)
            wasmtime_error_wasm_trace(error, &frames);
        else
            wasm_trap_trace(trap, &frames);
        print_frames(host, &frames);
    } else if (!host->telling)
        check(error, "call");
    work += depth;
    return error ? wasmtime_trap_new("error", 5) : trap;
}

NEVER_INLINE static void tour(struct host *host, wasmtime_context_t *context)
{
    printf("{\"images\": [");
    for (int i = 0; i < 2; i++) {
        void *start, *end;
        wasmtime_module_image_range(modules[i], &start, &end);
        printf("%s[%zu, %zu]", i ? ", " : "", (size_t)start, (size_t)end);
    }
    printf("]}\n");
    fflush(stdout);
    raise(SIGTRAP);
    enter(host, context, -1, &host->tour, 2);
    raise(SIGTRAP);
}

NEVER_INLINE static wasm_trap_t *at_the_end(struct host *host, wasmtime_context_t *context)
{
    static const int FAILURES[] = {[UNREACHABLE] = 1, [BOUNDS] = 2, [DIVISION] = 3};
    wasm_trap_t *trap;
    if (host->end >= UNREACHABLE && host->end <= DIVISION) {
        if (!host->telling) /* no one turns the signal into a trap */
            for (int number = 1; number < 32; number++)
                signal(number, SIG_DFL);
        trap = enter(host, context, -1, &host->failing, FAILURES[host->end]);
        work++;
        return trap;
    }
    if (host->telling)
        return wasmtime_trap_new("here", 4);
    if (host->end == TOUR)
        tour(host, context);
    switch (host->end) {
    case ABORT:
    case TOUR:
        abort();
    case SEGV:
        *nowhere = 1;
        break;
    case WAIT:
        puts("ready");
        fflush(stdout);
        break;
    default:
        pthread_barrier_wait(&parked);
    }
    for (;;)
        pause();
}

/* The host function: calls Wasm again, or is at the end. */
NEVER_INLINE static wasm_trap_t *back(void *env, wasmtime_caller_t *caller,
                                      wasmtime_val_raw_t *values, size_t count)
{
    struct host *host = env;
    wasmtime_context_t *context = wasmtime_caller_context(caller);
    int depth = values[0].i32;
    wasm_trap_t *trap;
    (void)count;
    if (depth < 0)
        return NULL;
    if (depth == 0)
        trap = at_the_end(host, context);
    else
        trap = enter(host, context, depth, depth == host->skipped ? &host->skip : &host->go,
                     depth - 1);
    work++;
    return trap;
}

static bool is_ready(void *env)
{
    struct host *host = env;
    return host->polls++ > 0;
}

static void wait_once(void *env, wasmtime_caller_t *caller, const wasmtime_val_t *arguments,
                      size_t count, wasmtime_val_t *results, size_t result_count,
                      wasm_trap_t **trap, continuation_t *continuation)
{
    (void)caller, (void)arguments, (void)count, (void)results, (void)result_count, (void)trap;
    *continuation = (continuation_t){is_ready, env, NULL};
}

static wasm_trap_t *wait_not(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values,
                             size_t count)
{
    (void)env, (void)caller, (void)values, (void)count;
    return NULL;
}

static void define(struct host *host)
{
    wasm_valtype_t *i32[1] = {wasm_valtype_new(0)};
    wasm_valtype_vec_t parameters, results = {0, NULL};
    wasm_functype_t *type;
    wasmtime_error_t *error;
    wasm_valtype_vec_new(&parameters, 1, i32);
    type = wasm_functype_new(&parameters, &results);
    check(wasmtime_linker_define_func_unchecked(host->linker, "host", 4, "back", 4, type, back,
                                                host, NULL),
          "define");
    parameters.size = 0;
    type = wasm_functype_new(&parameters, &results);
    if (host->fibers)
        error = wasmtime_linker_define_async_func(host->linker, "host", 4, "wait", 4, type,
                                                  wait_once, host, NULL);
    else
        error = wasmtime_linker_define_func_unchecked(host->linker, "host", 4, "wait", 4, type,
                                                      wait_not, host, NULL);
    check(error, "define");
}

static wasmtime_func_t exported(struct host *host, wasmtime_instance_t *instance, const char *name)
{
    wasmtime_extern_t found;
    if (!wasmtime_instance_export_get(host->context, instance, name, strlen(name), &found))
        abort();
    return found.of.func;
}

static void instantiate(struct host *host, wasmtime_module_t *module, wasmtime_instance_t *instance)
{
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *error = NULL;
    if (host->fibers) {
        wasmtime_call_future_t *future = wasmtime_linker_instantiate_async(
            host->linker, host->context, module, instance, &trap, &error);
        while (!wasmtime_call_future_poll(future))
            ;
    } else
        error = wasmtime_linker_instantiate(host->linker, host->context, module, instance, &trap);
    check(error, "instantiate");
}

static void open_host(struct host *host)
{
    wasmtime_instance_t library, demo;
    wasmtime_extern_t memory;
    host->store = wasmtime_store_new(engine, NULL, NULL);
    host->context = wasmtime_store_context(host->store);
    host->linker = wasmtime_linker_new(engine);
    define(host);
    instantiate(host, modules[0], &library);
    check(wasmtime_linker_define_instance(host->linker, host->context, "library", 7, &library),
          "link");
    instantiate(host, modules[1], &demo);
    host->go = exported(host, &demo, "go");
    host->begin = exported(host, &demo, "begin");
    host->skip = exported(host, &demo, "skip");
    host->spin = exported(host, &demo, "spin");
    host->tour = exported(host, &demo, "tour");
    host->failing = exported(host, &demo, "failing");
    if (!wasmtime_instance_export_get(host->context, &demo, "memory", 6, &memory))
        abort();
    host->counter = (uint32_t *)(wasmtime_memory_data(host->context, &memory.of) + 64);
}

/* The first call is of this thread or, in a fiber, of whoever polls it. */
NEVER_INLINE static void top(struct host *host)
{
    enter(host, host->context, host->depth, &host->go, host->depth);
    work++;
}

/* Runs a fiber until it waits; false if it waits. */
NEVER_INLINE static bool poll(struct host *host)
{
    bool done = wasmtime_call_future_poll(host->future);
    work++;
    return done;
}

NEVER_INLINE static void *go_on(void *argument)
{
    struct host *host = argument;
    prctl(PR_SET_NAME, "poller");
    poll(host);
    work++;
    return NULL;
}

/* Begins Wasm in a fiber; `begin` calls the function that waits, and then `go`. */
static void top_in_fiber(struct host *host, bool move)
{
    static wasm_trap_t *trap;
    static wasmtime_error_t *error;
    pthread_t thread;
    host->polls = 0;
    host->value.of.i32 = host->depth;
    host->future = wasmtime_func_call_async(host->context, &host->begin, &host->value, 1, NULL, 0,
                                            &trap, &error);
    if (poll(host))
        abort();
    if (host->end == SUSPEND)
        host->end = ABORT, at_the_end(host, NULL);
    if (!move) {
        poll(host);
        return;
    }
    pthread_create(&thread, NULL, go_on, host);
    pthread_join(thread, NULL);
}

static void tell(struct host *host)
{
    host->telling = true;
    enter(host, host->context, host->depth, host->fibers ? &host->begin : &host->go, host->depth);
    printf("%s\n", host->said);
    fflush(stdout);
    host->telling = false;
}

NEVER_INLINE static void *park(void *argument)
{
    struct host *host = argument;
    prctl(PR_SET_NAME, "parked");
    open_host(host);
    tell(host);
    top(host);
    work++;
    return NULL;
}

NEVER_INLINE static void *spin(void *argument)
{
    struct host *host = argument;
    prctl(PR_SET_NAME, "spinning");
    pthread_barrier_wait(&parked);
    enter(host, host->context, 0, &host->spin, 0);
    work++;
    return NULL;
}

static wasmtime_module_t *compile(const char *text)
{
    wasm_byte_vec_t binary;
    wasmtime_module_t *module;
    check(wasmtime_wat2wasm(text, strlen(text), &binary), "text");
    check(wasmtime_module_new(engine, (uint8_t *)binary.data, binary.size, &module), "compile");
    return module;
}

static wasm_config_t *configured(const char *flags)
{
    wasm_config_t *config = wasm_config_new();
    wasmtime_config_wasm_tail_call_set(config, true);
    if (strstr(flags, "sign")) {
        wasmtime_config_cranelift_flag_enable(config, "sign_return_address");
        wasmtime_config_cranelift_flag_enable(config, "sign_return_address_all");
    }
    if (strstr(flags, "debug"))
        wasmtime_config_debug_info_set(config, true);
    if (strstr(flags, "bare"))
        wasmtime_config_native_unwind_info_set(config, false);
    return config;
}

static const char *argument(char **arguments, const char *key, const char *otherwise)
{
    size_t size = strlen(key);
    for (; *arguments; arguments++)
        if (!strncmp(*arguments, key, size) && (*arguments)[size] == '=')
            return *arguments + size + 1;
    return otherwise;
}

int main(int count, char **arguments)
{
    struct host host = {0};
    int threads = atoi(argument(arguments, "threads", "0"));
    int spinning = atoi(argument(arguments, "spin", "0"));
    const char *end = argument(arguments, "end", "abort");
    pthread_t thread;
    bool move;
    (void)count;
    while (strcmp(ENDS[host.end], end))
        if (++host.end == PARK)
            return 2;
    host.depth = atoi(argument(arguments, "depth", "2"));
    host.skipped = atoi(argument(arguments, "skip", "0"));
    engine = wasm_engine_new_with_config(configured(argument(arguments, "flags", "")));
    modules[0] = compile(LIBRARY);
    modules[1] = compile(DEMO);
    pthread_barrier_init(&parked, NULL, threads + spinning + 1);
    for (int i = 0; i < threads; i++) {
        struct host *other = calloc(1, sizeof *other);
        other->depth = i + 1;
        other->end = PARK;
        pthread_create(&thread, NULL, park, other);
    }
    if (spinning) {
        struct host *other = calloc(1, sizeof *other);
        open_host(other);
        pthread_create(&thread, NULL, spin, other);
        pthread_barrier_wait(&parked);
        while (*other->counter < 1000)
            sched_yield();
    } else
        pthread_barrier_wait(&parked);
    move = atoi(argument(arguments, "move", "0"));
    host.fibers = move || host.end == SUSPEND || atoi(argument(arguments, "fiber", "0"));
    open_host(&host);
    tell(&host);
    if (host.fibers)
        top_in_fiber(&host, move);
    top(&host);
    work++;
    return 0;
}
