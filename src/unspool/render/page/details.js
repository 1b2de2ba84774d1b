/* What is known of the selected node and of the byte under the cursor. */

const counted = (count, noun) =>
  `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

class Details {
  #page;
  #path;
  #facts;

  constructor(page, path, facts) {
    this.#page = page;
    this.#path = path;
    this.#facts = facts;
  }

  render() {
    const { nodes, selected, hot } = this.#page;
    this.#showPath(hot === NONE ? selected : hot);
    this.#facts.replaceChildren();
    if (selected === NONE) return;
    const title = createElement("h2", "", nodes.name(selected));
    title.append(createElement("small", "", nodes.type(selected)));
    this.#facts.append(title);
    this.#row("problem", nodes.problem(selected), "problem");
    this.#row("value", nodes.value(selected));
    this.#row("meaning", nodes.meaning(selected), "prose");
    this.#place(selected);
    this.#target(selected);
    if (this.#page.cursor !== NONE && !nodes.isGroup(selected)) this.#inspect(this.#page.cursor);
  }

  #showPath(node) {
    const { nodes } = this.#page;
    this.#path.replaceChildren();
    if (node === NONE) return;
    const path = nodes.path(node);
    path.forEach((each, index) => {
      if (index > 0) this.#path.append(createElement("span", "arrow", "\u203a"));
      const step = createElement("button", `step ${nodes.style(each)}`, nodes.name(each));
      step.addEventListener("click", () => this.#page.select(each));
      this.#path.append(step);
    });
  }

  #row(label, content, style = "") {
    if (content === "" || content === null) return;
    const value = createElement("dd", style);
    value.append(content);
    this.#facts.append(createElement("dt", "", label), value);
  }

  #place(node) {
    const { nodes } = this.#page;
    if (nodes.isGroup(node)) return;
    const start = nodes.offset[node];
    const size = nodes.size[node];
    this.#row("in the file", `${hex(start)} to ${hex(start + size)}, ${counted(size, "byte")}`);
    const address = nodes.addressOf(start);
    if (address === null || nodes.value(node).startsWith(hex(address))) return;
    this.#row("in the process", `${hex(address)} to ${hex(address + BigInt(size))}`);
  }

  #target(node) {
    const { nodes } = this.#page;
    const offset = nodes.targetOffset[node];
    if (offset === NONE) return;
    const target = nodes.target(offset, nodes.targetSize[node]);
    const name = target === NONE ? "outside of the file" : nodes.title(target);
    const link = createElement("a", "link", `${hex(offset)} ${name}`);
    link.href = `#${hex(offset)}`;
    link.addEventListener("click", (event) => {
      event.preventDefault();
      this.#page.follow(node);
    });
    this.#row("points to", link);
  }

  /* The integers at the cursor, and where the word around it points to. */
  #inspect(offset) {
    const { bytes, nodes } = this.#page;
    const address = nodes.addressOf(offset);
    const parts = [address === null ? hex(offset) : `${hex(offset)} = ${hex(address)}`];
    for (const size of [1, 2, 4, 8]) {
      const value = bytes.integer(offset, size);
      if (value !== null) parts.push(`u${size * 8} ${shortest(value)}`);
    }
    if (bytes.at(offset) < 0) parts.push("not in this page, which has no room for the whole dump");
    this.#row("cursor", parts.join("   "), "integers");
    const memory = this.#pointedTo(offset, address);
    if (memory === null) return;
    const to = memory.offset + Number(memory.address - memory.start);
    const link = createElement("a", "link", `${hex(memory.address)} ${nodes.name(memory.node)}`);
    link.href = `#${hex(to)}`;
    link.addEventListener("click", (event) => {
      event.preventDefault();
      this.#page.goTo(to, { push: true });
    });
    this.#row("pointer to", link);
  }

  /* The memory that a field is an address in, or the aligned word around an offset. */
  #pointedTo(offset, address) {
    const { bytes, nodes, selected } = this.#page;
    const field = !nodes.hasChildren(selected);
    for (const size of [8, 4]) {
      const into = Number((address ?? BigInt(offset)) % BigInt(size));
      const start = field && nodes.size[selected] === size ? nodes.offset[selected] : offset - into;
      const value = bytes.integer(start, size);
      const memory = value === null || value < 0x1000n ? null : nodes.memoryAt(value);
      if (memory !== null) return { ...memory, address: value };
    }
    return null;
  }
}

function shortest(value) {
  return value < 10000n ? value.toString() : hex(value);
}
