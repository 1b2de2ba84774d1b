// Calls in many ways down to a read that waits, after "ready". Arguments:
//   tell      tells its stack first, as a line of JSON: [function, file, line, whether it is a
//             builtin] of each frame, innermost first
//   optimise  has turbofan compile `hot` (with --allow-natives-syntax), `maglev` maglev;
//   deoptimise  has it give that code up while it is on the stack
'use strict';
const fs = require('fs');
const vm = require('vm');
const words = process.argv.slice(2);

Error.stackTraceLimit = Infinity;
function itself() {
  const prepare = Error.prepareStackTrace;
  Error.prepareStackTrace = (_, sites) =>
    sites.map((site) => [site.getFunctionName() || '', site.getFileName() || '',
      site.getLineNumber(), site.isNative()]);
  const sites = new Error().stack;
  Error.prepareStackTrace = prepare;
  return sites.slice(1); // not this function
}

function leaf() {
  if (words.includes('tell')) fs.writeSync(1, JSON.stringify(itself()) + '\n');
  fs.writeSync(1, 'ready\n');
  fs.readSync(0, Buffer.alloc(1));
}
const closures = [1].map((n) => function closure(then) { return then(n); });
class Основа {
  #hidden(then) {

    return closures[0](() => then());
  }
  метод日本(n, then) { return n > 0 ? this.метод日本(n - 1, then) : this.#hidden(then); }
  get prop() { return this.метод日本(2, leaf); }
  static from(o) { return o.prop; }
  constructor(then) { if (then) then(this); }
}
class Derived extends Основа {
  constructor(then) {
    super((o) => { then(o); });
  }
}
const object = {
  async viaAwait(then) { await 0; return then(); },
  computed1() { return [...this.generator()][0]; },
  *generator() { yield new Derived((o) => Основа.from(o)); },
};
const inEval = eval('(function inEval(then) {\n  return then();\n})');
const elsewhere = vm.runInThisContext(
  '\n  (function elsewhere(then) {\n    return then();\n  })',
  { filename: '/nowhere/😀.js', lineOffset: 100, columnOffset: 7 });
function many(a, b, c, d, e, f, g, h) {
  let text = [a, b, c, d, e, f, g, h].join();
  for (const each of [text]) {
    try {
      if (each) return elsewhere(() => inEval(() => object['computed' + 1]()));
    } finally {
      text = '';
    }
  }
  return text;
}
function inlined(n, then) {
  return n > 0 ? then(n) : n;
}
function hot(n, then) {
  return inlined(n, then);
}
const last = (n) => many(n, 2, 3, 4, 5, 6, 7, 8);
if (words.includes('optimise') || words.includes('deoptimise') || words.includes('maglev')) {
  const kind = words.includes('maglev') ? 'Maglev' : 'Function';
  const prepare = new Function('f', `%PrepareFunctionForOptimization(f)`);
  const optimise = new Function('f', `%Optimize${kind}OnNextCall(f)`);
  // Of functions that were never called the code has none, and is given up when it calls one.
  const seen = words.includes('deoptimise') ? [] : [(n) => n, (n) => -n, (n) => n + 1, (n) => 2 * n,
    (n) => 3 * n, (n) => 4 * n];
  for (const f of [inlined, hot]) prepare(f);
  for (let n = 0; n < 20; n++) for (const f of [last, ...seen]) hot(f === last ? 0 : 1, f);
  optimise(hot);
  hot(0, last);
}
object.viaAwait(() => hot(1, last));
