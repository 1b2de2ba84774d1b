// Calls in all kinds of ways down to a read that waits, and tells its own stack before that:
// a line of JSON, pairs of a function's name and its file, innermost first; then "ready".
'use strict';
const fs = require('fs');

Error.stackTraceLimit = Infinity;
function itself() {
  const prepare = Error.prepareStackTrace;
  Error.prepareStackTrace = (_, sites) =>
    sites.filter((site) => !site.isNative() && site.getFileName() !== null)
      .map((site) => [site.getFunctionName() || '', site.getFileName()]);
  const sites = new Error().stack;
  Error.prepareStackTrace = prepare;
  return sites.slice(1); // not this function
}

function leaf() {
  fs.writeSync(1, JSON.stringify(itself()) + '\nready\n');
  fs.readSync(0, Buffer.alloc(1));
}
class Klass {
  method(n) { return n > 0 ? this.method(n - 1) : [1].map(() => leaf()); }
  get prop() { return this.method(3); }
  static st(o) { return o.prop; }
}
function viaApply(o) { return Klass.st.apply(null, [o]); }
function viaSort(o) {
  return [2, 1].sort((a, b) => { if (!o.done) { o.done = 1; viaApply(o); } return a - b; });
}
function viaJSON(o) {
  return JSON.parse('{"a":1}', (k, v) => { if (!o.seen) { o.seen = 1; viaSort(o); } return v; });
}
function viaConstructor(o) { return new (class Made { constructor() { viaJSON(o); } })(); }
async function viaAwait(o) { await 0; viaConstructor(o); }
viaAwait(new Klass());
