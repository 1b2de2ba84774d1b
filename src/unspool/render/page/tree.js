/* The tree: a line for each group, stream, structure and field. */

const MOST_OPENED = 40;

class TreeView {
  #page;
  #list;
  #open;
  #lines = []; // the nodes that are shown, in order

  constructor(page, element) {
    this.#page = page;
    this.element = element;
    this.#open = new Uint8Array(page.nodes.count);
    this.#list = new VirtualList(element, {
      rowHeight: 22,
      make: () => this.#makeRow(),
      fill: (row, index) => this.#fillRow(row, index),
    });
    for (let node = 0; node < page.nodes.count; node = page.nodes.after[node])
      this.#open[node] = page.nodes.children(node).length <= MOST_OPENED ? 1 : 0;
    this.#layOut();
    element.addEventListener("click", (event) => this.#clicked(event));
    element.addEventListener("pointermove", (event) => page.hover(rowUnder(event)?.node ?? NONE));
    element.addEventListener("pointerleave", () => page.hover(NONE));
    element.addEventListener("keydown", (event) => this.#key(event));
  }

  /* The nodes that a person sees opened, for the printed page. */
  get lines() { return this.#lines; }

  render() { this.#list.render(); }

  /* Opens everything above a node and brings its line into sight. */
  reveal(node) {
    const { nodes } = this.#page;
    let changed = false;
    for (let above = nodes.parent[node]; above !== NONE; above = nodes.parent[above]) {
      changed ||= !this.#open[above];
      this.#open[above] = 1;
    }
    if (changed) this.#layOut();
    this.#list.reveal(this.#lineOf(node));
  }

  #layOut() {
    const { nodes } = this.#page;
    this.#lines = [];
    for (let node = 0; node < nodes.count; node = this.#open[node] ? node + 1 : nodes.after[node])
      this.#lines.push(node);
    this.#list.resize(this.#lines.length);
  }

  #lineOf(node) { return lastNotAbove(this.#lines, node, (line) => line); }

  #toggle(node, open = !this.#open[node]) {
    this.#open[node] = open && this.#page.nodes.hasChildren(node) ? 1 : 0;
    this.#layOut();
  }

  #makeRow() {
    const row = createElement("div", "row");
    row.setAttribute("role", "treeitem");
    row.id = `line-${this.#nextId++}`;
    row.twist = createElement("span", "twist");
    row.swatch = createElement("span", "swatch");
    row.nameCell = createElement("span", "name");
    row.valueCell = createElement("span", "value");
    row.meaningCell = createElement("span", "meaning");
    row.nameText = createElement("span");
    row.nameCell.append(row.twist, row.swatch, row.nameText);
    row.append(row.nameCell, row.valueCell, row.meaningCell);
    return row;
  }

  #nextId = 0;

  #fillRow(row, index) {
    const { nodes, selected, hot } = this.#page;
    const node = this.#lines[index];
    const opens = nodes.hasChildren(node);
    row.node = node;
    row.className = [
      "row",
      nodes.isGroup(node) ? "group" : nodes.style(node),
      node === selected ? "selected" : "",
      node === hot ? "hot" : "",
      nodes.problem(node) !== "" ? "bad" : "",
    ].join(" ");
    row.setAttribute("aria-level", nodes.depth[node] + 1);
    row.setAttribute("aria-selected", node === selected);
    if (opens) row.setAttribute("aria-expanded", Boolean(this.#open[node]));
    else row.removeAttribute("aria-expanded");
    if (node === selected) this.element.setAttribute("aria-activedescendant", row.id);
    row.nameCell.style.paddingLeft = `${nodes.depth[node] * 14}px`;
    row.twist.className = `twist${opens ? (this.#open[node] ? " open" : " closed") : ""}`;
    row.nameText.textContent = nodes.name(node);
    this.#fillValue(row.valueCell, node);
    row.meaningCell.textContent = nodes.problem(node) || nodes.meaning(node);
    row.title = [nodes.name(node), nodes.value(node), nodes.problem(node) || nodes.meaning(node)]
      .filter((text) => text !== "")
      .join("\n");
  }

  #fillValue(cell, node) {
    const { nodes } = this.#page;
    const text = nodes.value(node);
    if (nodes.targetOffset[node] === NONE) {
      cell.textContent = text;
      return;
    }
    const link = createElement("a", "link", text || hex(nodes.targetOffset[node]));
    link.href = `#${hex(nodes.targetOffset[node])}`;
    link.tabIndex = -1;
    cell.replaceChildren(link);
  }

  #clicked(event) {
    const row = rowUnder(event);
    if (row === null || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const { nodes } = this.#page;
    if (event.target.closest("a") !== null) {
      event.preventDefault();
      this.#page.follow(row.node);
    } else if (event.target === row.twist || nodes.isGroup(row.node)) {
      this.#toggle(row.node);
      if (nodes.isGroup(row.node)) this.#page.select(row.node);
    } else this.#page.select(row.node);
  }

  #key(event) {
    const { nodes, selected } = this.#page;
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const line = selected === NONE ? -1 : this.#lineOf(selected);
    const steps = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: this.#list.page,
      PageUp: -this.#list.page,
      Home: -Infinity,
      End: Infinity,
    };
    if (event.key in steps) {
      const to = Math.max(0, Math.min(line + steps[event.key], this.#lines.length - 1));
      this.#page.select(this.#lines[to]);
    } else if (selected === NONE) return;
    else if (event.key === "ArrowRight") {
      if (!nodes.hasChildren(selected)) return;
      if (this.#open[selected]) this.#page.select(selected + 1);
      else this.#toggle(selected, true);
    } else if (event.key === "ArrowLeft") {
      if (this.#open[selected]) this.#toggle(selected, false);
      else if (nodes.parent[selected] !== NONE) this.#page.select(nodes.parent[selected]);
    } else if (event.key === " ") this.#toggle(selected);
    else if (event.key === "Enter") this.#page.followSelected();
    else return;
    event.preventDefault();
  }
}

function rowUnder(event) { return event.target.closest(".row"); }
