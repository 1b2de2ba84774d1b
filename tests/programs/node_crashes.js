// Ends by SIGABRT in a callback of a sort, some calls of JavaScript deep.
'use strict';

function crash() { process.abort(); }
class Klass {
  method(n) { return n > 0 ? this.method(n - 1) : [1].map(() => crash()); }
}
function viaSort(o) { return [2, 1].sort((a, b) => { o.method(5); return a - b; }); }
viaSort(new Klass());
