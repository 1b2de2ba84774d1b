/* What wasm_host.c needs of Wasmtime's C API: declared here, since PyPI's packages hold the
   library alone. The same since version 20, but for what says otherwise. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct wasm_config_t wasm_config_t;
typedef struct wasm_engine_t wasm_engine_t;
typedef struct wasm_functype_t wasm_functype_t;
typedef struct wasm_valtype_t wasm_valtype_t;
typedef struct wasm_trap_t wasm_trap_t;
typedef struct wasm_frame_t wasm_frame_t;
typedef struct wasmtime_module wasmtime_module_t;
typedef struct wasmtime_store wasmtime_store_t;
typedef struct wasmtime_context wasmtime_context_t;
typedef struct wasmtime_error wasmtime_error_t;
typedef struct wasmtime_linker wasmtime_linker_t;
typedef struct wasmtime_caller wasmtime_caller_t;
typedef struct wasmtime_call_future wasmtime_call_future_t;

typedef struct { size_t size; char *data; } wasm_byte_vec_t;
typedef struct { size_t size; wasm_valtype_t **data; } wasm_valtype_vec_t;
typedef struct { size_t size; wasm_frame_t **data; } wasm_frame_vec_t;

/* Handles; what is in them is the library's business. */
typedef struct { uint64_t store; uint64_t rest; } wasmtime_func_t;
typedef struct { uint64_t store; uint64_t rest; } wasmtime_instance_t;
typedef struct { uint8_t kind; union { wasmtime_func_t func; uint64_t rest[3]; } of; } wasmtime_extern_t;
typedef union { int32_t i32; uint64_t bits[2]; } __attribute__((aligned(8))) wasmtime_val_raw_t;
typedef struct { uint8_t kind; union { int32_t i32; uint64_t rest[3]; } of; } wasmtime_val_t;

typedef wasm_trap_t *(*host_function_t)(void *env, wasmtime_caller_t *caller,
                                        wasmtime_val_raw_t *values, size_t count);

/* Asynchronous calls: since version 21. A continuation says whether its call is done. */
typedef struct { bool (*ready)(void *env); void *env; void (*end)(void *env); } continuation_t;
typedef void (*async_function_t)(void *env, wasmtime_caller_t *caller, const wasmtime_val_t *arguments,
                                 size_t count, wasmtime_val_t *results, size_t result_count,
                                 wasm_trap_t **trap, continuation_t *continuation);

wasm_config_t *wasm_config_new(void);
wasm_engine_t *wasm_engine_new_with_config(wasm_config_t *config);
wasm_valtype_t *wasm_valtype_new(uint8_t kind);
void wasm_valtype_vec_new(wasm_valtype_vec_t *types, size_t size, wasm_valtype_t *const *data);
wasm_functype_t *wasm_functype_new(wasm_valtype_vec_t *parameters, wasm_valtype_vec_t *results);
void wasm_trap_trace(const wasm_trap_t *trap, wasm_frame_vec_t *frames);
uint32_t wasm_frame_func_index(const wasm_frame_t *frame);
size_t wasm_frame_func_offset(const wasm_frame_t *frame);
size_t wasm_frame_module_offset(const wasm_frame_t *frame);
const wasm_byte_vec_t *wasmtime_frame_func_name(const wasm_frame_t *frame);
const wasm_byte_vec_t *wasmtime_frame_module_name(const wasm_frame_t *frame);
void wasmtime_config_cranelift_flag_enable(wasm_config_t *config, const char *flag);
void wasmtime_config_debug_info_set(wasm_config_t *config, bool enable);
void wasmtime_config_native_unwind_info_set(wasm_config_t *config, bool enable);
void wasmtime_config_wasm_tail_call_set(wasm_config_t *config, bool enable);
wasmtime_error_t *wasmtime_wat2wasm(const char *text, size_t size, wasm_byte_vec_t *module);
wasmtime_error_t *wasmtime_module_new(wasm_engine_t *engine, const uint8_t *data, size_t size,
                                      wasmtime_module_t **module);
void wasmtime_module_image_range(const wasmtime_module_t *module, void **start, void **end);
wasmtime_store_t *wasmtime_store_new(wasm_engine_t *engine, void *data, void (*end)(void *));
wasmtime_context_t *wasmtime_store_context(wasmtime_store_t *store);
wasmtime_context_t *wasmtime_caller_context(wasmtime_caller_t *caller);
wasmtime_linker_t *wasmtime_linker_new(wasm_engine_t *engine);
wasmtime_error_t *wasmtime_linker_define_func_unchecked(
    wasmtime_linker_t *linker, const char *module, size_t module_size, const char *name,
    size_t name_size, const wasm_functype_t *type, host_function_t function, void *env,
    void (*end)(void *));
wasmtime_error_t *wasmtime_linker_define_async_func(
    wasmtime_linker_t *linker, const char *module, size_t module_size, const char *name,
    size_t name_size, const wasm_functype_t *type, async_function_t function, void *env,
    void (*end)(void *));
wasmtime_error_t *wasmtime_linker_define_instance(wasmtime_linker_t *linker,
                                                  wasmtime_context_t *context, const char *name,
                                                  size_t size, const wasmtime_instance_t *instance);
wasmtime_error_t *wasmtime_linker_instantiate(wasmtime_linker_t *linker,
                                              wasmtime_context_t *context,
                                              const wasmtime_module_t *module,
                                              wasmtime_instance_t *instance, wasm_trap_t **trap);
wasmtime_call_future_t *wasmtime_linker_instantiate_async(
    const wasmtime_linker_t *linker, wasmtime_context_t *context, const wasmtime_module_t *module,
    wasmtime_instance_t *instance, wasm_trap_t **trap, wasmtime_error_t **error);
bool wasmtime_instance_export_get(wasmtime_context_t *context, const wasmtime_instance_t *instance,
                                  const char *name, size_t size, wasmtime_extern_t *found);
uint8_t *wasmtime_memory_data(const wasmtime_context_t *context, const void *memory);
wasmtime_error_t *wasmtime_func_call_unchecked(wasmtime_context_t *context,
                                               const wasmtime_func_t *function,
                                               wasmtime_val_raw_t *values, size_t count,
                                               wasm_trap_t **trap);
wasmtime_call_future_t *wasmtime_func_call_async(wasmtime_context_t *context,
                                                 const wasmtime_func_t *function,
                                                 const wasmtime_val_t *arguments, size_t count,
                                                 wasmtime_val_t *results, size_t result_count,
                                                 wasm_trap_t **trap, wasmtime_error_t **error);
bool wasmtime_call_future_poll(wasmtime_call_future_t *future);
wasm_trap_t *wasmtime_trap_new(const char *message, size_t size);
void wasmtime_error_message(const wasmtime_error_t *error, wasm_byte_vec_t *message);
void wasmtime_error_wasm_trace(const wasmtime_error_t *error, wasm_frame_vec_t *frames);
