/* The tree of nodes in columns, in the order of the text: a node's subtree follows it.

   A row is [depth, kind, name, type, offset, size, value, meaning, target's offset, target's
   size, problem, address], without what is empty at its end. A string is written out where it
   is first used, and afterwards is its number. Nodes of depth 0 are groups of the nodes of
   depth 1, which cover the file and may share bytes with each other; what is below them lies
   inside of them. */

const NONE = -1;

class Nodes {
  #tops = []; // {start, end, node}: which node of depth 1 shows, by offset, none overlapping
  #children = new Map();
  #memory = [];
  #kinds;

  constructor(rows, kinds) {
    this.#kinds = kinds;
    const count = (this.count = rows.length);
    this.strings = [""];
    this.depth = new Uint8Array(count);
    this.kind = new Uint8Array(count);
    this.odd = new Uint8Array(count);
    this.parent = new Int32Array(count).fill(NONE);
    this.after = new Int32Array(count).fill(count); // the first node that is not in the subtree
    this.offset = new Float64Array(count);
    this.size = new Float64Array(count);
    this.targetOffset = new Float64Array(count).fill(NONE);
    this.targetSize = new Float64Array(count);
    this.texts = new Int32Array(count * 5);
    this.problems = [];
    this.#read(rows);
    this.#cover();
  }

  name(node) { return this.strings[this.texts[node * 5]]; }
  type(node) { return this.strings[this.texts[node * 5 + 1]]; }
  value(node) { return this.strings[this.texts[node * 5 + 2]]; }
  meaning(node) { return this.strings[this.texts[node * 5 + 3]]; }
  problem(node) { return this.strings[this.texts[node * 5 + 4]]; }
  end(node) { return this.offset[node] + this.size[node]; }
  style(node) { return `k-${this.#kinds[this.kind[node]].id}`; }
  isGroup(node) { return this.depth[node] === 0; }
  hasChildren(node) { return this.after[node] > node + 1; }

  /* From the outermost node that has bytes to the node itself. */
  path(node) {
    const path = [];
    for (; node !== NONE && (path.length === 0 || !this.isGroup(node)); node = this.parent[node])
      path.unshift(node);
    return path;
  }

  title(node) {
    return this.path(node).map((each) => this.name(each)).join(" \u203a ");
  }

  children(node) {
    let list = this.#children.get(node);
    if (list === undefined) {
      list = [];
      for (let child = node + 1; child < this.after[node]; child = this.after[child])
        list.push(child);
      this.#children.set(node, list);
    }
    return list;
  }

  /* The innermost node at an offset, and the run of bytes around it that is nobody else's. */
  at(offset) {
    let run = this.#tops[lastNotAbove(this.#tops, offset, (each) => each.start)];
    if (run === undefined || offset >= run.end) return null;
    for (;;) {
      const children = this.children(run.node);
      const index = lastNotAbove(children, offset, (child) => this.offset[child]);
      const child = children[index];
      if (child !== undefined && offset < this.end(child)) {
        run = { node: child, start: this.offset[child], end: Math.min(this.end(child), run.end) };
        continue;
      }
      const next = children[index + 1];
      const start = child === undefined ? run.start : Math.max(run.start, this.end(child));
      const end = next === undefined ? run.end : Math.min(run.end, this.offset[next]);
      return { node: run.node, start, end };
    }
  }

  /* The node that a link means: of those that begin there the outermost of the wanted size. */
  target(offset, size) {
    const inner = this.at(offset);
    if (inner === null) return NONE;
    const starting = this.path(inner.node).filter((each) => this.offset[each] === offset);
    const fitting = starting.filter((each) => this.size[each] === size);
    return fitting[0] ?? starting[0] ?? inner.node;
  }

  /* The nodes that problems are about: those that have the same words, in their order, or else
     those that are called like the place. */
  problemPlaces(problems) {
    const having = new Map();
    for (const node of this.problems) {
      const words = this.problem(node);
      if (!having.has(words)) having.set(words, []);
      having.get(words).push(node);
    }
    const called = new Map();
    for (let node = this.count - 1; node >= 0; node--)
      if (this.depth[node] === 1) called.set(this.name(node), node);
    return problems.map(([where, what]) => having.get(what)?.shift() ?? called.get(where) ?? NONE);
  }

  /* The runs of the nodes of depth 1, by offset. */
  get tops() { return this.#tops; }

  /* The memory that holds an address of the process: {start, end, offset, node}. */
  memoryAt(address) {
    const run = this.#memory[lastNotAbove(this.#memory, address, (each) => each.start)];
    return run !== undefined && address < run.end ? run.of : null;
  }

  /* The address that a byte of the file had in the process. */
  addressOf(offset) {
    const top = this.#tops[lastNotAbove(this.#tops, offset, (each) => each.start)];
    if (top === undefined || offset >= top.end || top.memory === undefined) return null;
    return top.memory.start + BigInt(offset - top.memory.offset);
  }

  #read(rows) {
    const open = [];
    let leaves = 0;
    rows.forEach((row, node) => {
      const depth = row[0];
      while (open.length > depth) this.after[open.pop()] = node;
      this.depth[node] = depth;
      this.kind[node] = row[1];
      this.parent[node] = open.at(-1) ?? NONE;
      open.push(node);
      [2, 3, 6, 7, 10].forEach((column, text) => {
        this.texts[node * 5 + text] = this.#string(row[column] ?? 0);
      });
      this.offset[node] = row[4] ?? NONE;
      this.size[node] = row[5] ?? 0;
      if (row[8] !== undefined && row[8] !== NONE) this.targetOffset[node] = row[8];
      this.targetSize[node] = row[9] ?? 0;
      if (this.texts[node * 5 + 4] !== 0) this.problems.push(node);
      if (row[11] !== undefined) this.#remember(node, BigInt(row[11]));
    });
    for (let node = 0; node < this.count; node++)
      if (!this.hasChildren(node)) this.odd[node] = leaves++ & 1;
  }

  #string(value) {
    if (typeof value === "number") return value;
    return this.strings.push(value) - 1;
  }

  #remember(node, start) {
    const end = start + BigInt(this.size[node]);
    this.#memory.push({ start, end, offset: this.offset[node], node });
  }

  #cover() {
    const memory = new Map(this.#memory.map((each) => [each.node, each]));
    const nodes = [];
    for (let node = 0; node < this.count; node++)
      if (this.depth[node] === 1 && this.size[node] > 0)
        nodes.push({ start: this.offset[node], end: this.end(node), node });
    this.#tops = flatten(nodes).map(({ start, end, of: { node } }) =>
      ({ start, end, node, memory: memory.get(node) }));
    this.#memory = flatten(this.#memory);
  }
}

/* Intervals that may share places as runs {start, end, of} that do not: of several intervals
   the one that begins last shows, of those the shortest, of equal ones the first. */
function flatten(intervals) {
  const sorted = intervals.map((each, index) => ({ ...each, index })).sort((a, b) =>
    compare(a.start, b.start) || compare(b.end, a.end) || b.index - a.index);
  const runs = [];
  const open = [];
  let at = sorted[0]?.start;
  const emit = (end) => {
    if (end > at) runs.push({ start: at, end, of: open.at(-1) });
    if (end > at) at = end;
  };
  const closeUntil = (place) => {
    while (open.length > 0 && open.at(-1).end <= place) {
      emit(open.at(-1).end);
      open.pop();
    }
  };
  for (const interval of sorted) {
    closeUntil(interval.start);
    if (open.length > 0) emit(interval.start);
    if (interval.start > at) at = interval.start;
    open.push(interval);
  }
  closeUntil(Infinity);
  return runs;
}

function compare(a, b) { return a < b ? -1 : a > b ? 1 : 0; }

/* The index of the last element whose key is not above `key`; -1 if there is none. */
function lastNotAbove(sorted, key, keyOf) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (keyOf(sorted[middle]) <= key) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
