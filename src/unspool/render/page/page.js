/* The page: what is selected, and how its parts hear of it. */

class Page {
  selected = NONE; // a node
  hot = NONE; // the node under the pointer
  cursor = NONE; // the offset of a byte
  view = null; // of the bytes
  #views = [];
  #saving = 0;

  constructor(dump) {
    this.dump = dump;
    this.kinds = dump.kinds;
    this.nodes = new Nodes(dump.nodes, dump.kinds);
    this.bytes = new Bytes(dump.size, dump.piece, document.querySelectorAll("script[data-piece]"));
    this.#introduce();
    this.view = new HexView(this, byId("hex"));
    this.tree = new TreeView(this, byId("tree"));
    this.search = new Search(this, byId("query"), byId("results"));
    const details = new Details(this, byId("path"), byId("details"));
    new Print(this, () => this.tree.lines, byId("paper"));
    this.#views = [() => this.view.render(), () => this.tree.render(), () => details.render()];
    this.#listen();
    if (!this.#restore() && this.nodes.count > 1) this.select(1);
  }

  /* Selects a node and shows its bytes. `push` lets the browser's back button return. */
  select(node, { push = false } = {}) {
    if (push) this.#remember(false);
    this.selected = node;
    const shown = !this.nodes.isGroup(node) && this.nodes.size[node] > 0;
    if (shown) this.cursor = this.nodes.offset[node];
    this.tree.reveal(node);
    if (shown) this.view.reveal(this.cursor);
    this.#changed(push);
  }

  /* Puts the cursor on a byte and selects the field that it belongs to. */
  goTo(offset, { push = false, quiet = false } = {}) {
    if (offset < 0 || offset >= this.bytes.size) return;
    if (push) this.#remember(false);
    this.cursor = offset;
    this.selected = this.nodes.at(offset)?.node ?? NONE;
    if (this.selected !== NONE) this.tree.reveal(this.selected);
    this.view.reveal(offset);
    this.#changed(push);
    if (!quiet) byId("hex").focus({ preventScroll: true });
  }

  /* Goes where a node points to. */
  follow(node) {
    const offset = this.nodes.targetOffset[node];
    if (offset === NONE) return;
    const target = this.nodes.target(offset, this.nodes.targetSize[node]);
    if (target !== NONE) this.select(target, { push: true });
  }

  followSelected() {
    if (this.selected !== NONE) this.follow(this.selected);
  }

  hover(node) {
    if (node === this.hot) return;
    this.hot = node;
    this.#render();
  }

  #changed(push) {
    this.hot = NONE;
    this.#render();
    clearTimeout(this.#saving);
    if (push) this.#remember(true);
    // Browsers stop pages that change their address at the rate of a held arrow key.
    else this.#saving = setTimeout(() => this.#remember(false), 250);
  }

  #render() {
    for (const render of this.#views) render();
    requestAnimationFrame(() => this.map.draw());
  }

  #remember(push) {
    clearTimeout(this.#saving);
    if (this.cursor === NONE) return;
    const hash = `#${hex(this.cursor)}`;
    if (location.hash === hash) return;
    if (push) history.pushState(null, "", hash);
    else history.replaceState(null, "", hash);
  }

  /* `#0x1f40` and `#8000` are offsets, `#@0x7ffe0000` is an address. */
  #restore() {
    const wanted = /^#(@?)(0x[0-9a-f]{1,16}|\d{1,19})$/i.exec(location.hash);
    if (wanted === null) return false;
    const number = BigInt(wanted[2]);
    const memory = wanted[1] === "@" ? this.nodes.memoryAt(number) : null;
    if (wanted[1] === "@" && memory === null) return false;
    const offset = memory === null ? number : BigInt(memory.offset) + number - memory.start;
    if (offset >= BigInt(this.bytes.size)) return false;
    this.goTo(Number(offset), { quiet: true });
    return true;
  }

  #listen() {
    addEventListener("hashchange", () => this.#restore());
    addEventListener("popstate", () => this.#restore());
    byId("hex").addEventListener("scroll", () => requestAnimationFrame(() => this.map.draw()));
    document.addEventListener("keydown", (event) => {
      if (event.target.closest("input") !== null || event.ctrlKey || event.metaKey) return;
      if (event.key === "/") {
        event.preventDefault();
        this.search.focus();
      } else if (event.key === "n" || event.key === "N") this.search.step(event.key === "n" ? 1 : -1);
    });
  }

  /* What stands above the tree and the bytes, whose heights depend on it. */
  #introduce() {
    const { dump, nodes } = this;
    this.map = new FileMap(this, byId("map"), byId("tip"));
    document.title = `${dump.name} \u2013 minidump`;
    byId("name").textContent = dump.name;
    byId("facts").textContent = [...dump.facts, counted(dump.size, "byte")].join(" \u00b7 ");
    this.#listProblems();
    const bytes = new Array(this.kinds.length).fill(0);
    const first = new Array(this.kinds.length).fill(NONE);
    for (const run of nodes.tops) {
      const kind = nodes.kind[run.node];
      bytes[kind] += run.end - run.start;
      if (first[kind] === NONE) first[kind] = run.start;
    }
    this.kinds.forEach((kind, index) => {
      if (first[index] === NONE) return;
      const item = createElement("button", `k-${kind.id}`);
      item.append(createElement("span", "swatch"), kind.name);
      item.append(createElement("small", "", sizeInWords(bytes[index])));
      item.title = kind.meaning;
      item.addEventListener("pointerenter", () => this.map.only(index));
      item.addEventListener("pointerleave", () => this.map.only(NONE));
      item.addEventListener("click", () => this.goTo(this.#next(index), { push: true }));
      byId("legend").append(item);
    });
  }

  /* The next place of a kind after the cursor, from the beginning again after the last. */
  #next(kind) {
    const runs = this.nodes.tops.filter((run) => this.nodes.kind[run.node] === kind);
    return (runs.find((run) => run.start > this.cursor) ?? runs[0]).start;
  }

  #listProblems() {
    const { dump, nodes } = this;
    const section = byId("problems");
    section.hidden = dump.problems.length === 0;
    byId("problem-count").textContent = counted(dump.problems.length, "problem");
    const places = nodes.problemPlaces(dump.problems);
    dump.problems.forEach(([where, what], index) => {
      const item = document.createElement("li");
      const node = places[index];
      const place = createElement(node === NONE ? "span" : "button", "where", where);
      if (node !== NONE) place.addEventListener("click", () => this.select(node, { push: true }));
      item.append(place, createElement("span", "what", what));
      byId("problem-list").append(item);
    });
  }
}

function byId(id) { return document.getElementById(id); }

function sizeInWords(bytes) {
  if (bytes < 10_000) return `${bytes.toLocaleString("en")} B`;
  if (bytes < 10_000_000) return `${Math.round(bytes / 1000).toLocaleString("en")} kB`;
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}

const page = new Page(JSON.parse(byId("dump").textContent));
