// A worker thread that waits in a function of JavaScript, which WebAssembly has called, which
// JavaScript has called.
'use strict';
const fs = require('fs');
const { Worker, isMainThread } = require('worker_threads');

// (module (import "e" "f" (func)) (func (export "g") (call 0)))
const BINARY = new Uint8Array([
  0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 2, 7, 1, 1, 0x65, 1, 0x66, 0, 0,
  3, 2, 1, 0, 7, 5, 1, 1, 0x67, 0, 1, 10, 6, 1, 4, 0, 0x10, 0, 11,
]);

function wait() {
  fs.writeSync(1, 'ready\n');
  fs.readSync(0, Buffer.alloc(1));
}
function viaWasm() {
  new WebAssembly.Instance(new WebAssembly.Module(BINARY), { e: { f: wait } }).exports.g();
}
if (isMainThread) new Worker(__filename); else viaWasm();
