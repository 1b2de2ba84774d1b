"""WebAssembly in several versions of Wasmtime, beside the runtime's own backtraces."""
