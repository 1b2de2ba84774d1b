// Runs for ever: top -> outer -> middle -> inner, which returns before it is called again.
'use strict';
function inner(n) {
  let sum = 0;
  for (let i = 0; i < n; i++) { sum += (i % 7) * 1.5; if (sum > 1e9) sum = 0; }
  return sum;
}
function middle(n) { let sum = 0; for (let i = 0; i < n; i++) sum += inner(20); return sum; }
function outer() { for (;;) middle(1000); }
function top() { outer(); }
for (let i = 0; i < 30; i++) middle(100); // so that all code is made
console.log('ready');
top();
