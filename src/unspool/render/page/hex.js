/* The bytes as hex digits and characters, coloured by what they belong to. */

const DIGITS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const MOST_BRIGHT = 64; // bytes
const hex = (number) => `0x${number.toString(16)}`;

class HexView {
  #page;
  #list;
  #columns = 16;
  #bright = false;

  constructor(page, element) {
    this.#page = page;
    this.#list = new VirtualList(element, {
      rowHeight: 20,
      make: () => this.#makeRow(),
      fill: (row, index) => this.#fillRow(row, index),
    });
    this.element = element;
    onResize(element, () => this.#fit());
    element.addEventListener("click", (event) => this.#clicked(event));
    element.addEventListener("pointermove", (event) => page.hover(this.#nodeUnder(event)));
    element.addEventListener("pointerleave", () => page.hover(NONE));
    element.addEventListener("keydown", (event) => this.#key(event));
    this.#fit(true);
  }

  get firstOffset() { return this.#list.first * this.#columns; }
  get endOffset() { return Math.min((this.#list.last + 1) * this.#columns, this.#page.bytes.size); }

  reveal(offset) { this.#list.reveal(Math.floor(offset / this.#columns)); }
  render() {
    const { nodes, selected } = this.#page;
    // A field shines; of a structure its fields are still to be told, and of a whole screen of
    // full colour nothing.
    this.#bright =
      selected !== NONE && !nodes.hasChildren(selected) && nodes.size[selected] <= MOST_BRIGHT;
    this.#list.render();
  }

  /* Eight bytes a row where sixteen have no room. */
  #fit(first = false) {
    const columns = this.element.clientWidth < 560 ? 8 : 16;
    this.element.classList.toggle("addressed", this.element.clientWidth >= 690);
    if (columns === this.#columns && !first) return;
    const at = this.firstOffset;
    this.#columns = columns;
    this.element.classList.toggle("short", columns === 8);
    this.#list.resize(Math.ceil(this.#page.bytes.size / columns));
    this.reveal(at);
  }

  #makeRow() {
    const row = createElement("div", "row");
    row.offsetCell = createElement("span", "offset");
    row.addressCell = createElement("span", "address");
    const digits = createElement("span", "digits");
    const characters = createElement("span", "characters");
    row.cells = [];
    for (let column = 0; column < 16; column++) {
      const pair = [document.createElement("i"), document.createElement("i")];
      for (const cell of pair) cell.column = column;
      digits.append(pair[0]);
      characters.append(pair[1]);
      row.cells.push(pair);
    }
    row.append(row.offsetCell, digits, characters, row.addressCell);
    return row;
  }

  #fillRow(row, index) {
    const { bytes, nodes } = this.#page;
    const base = index * this.#columns;
    row.base = base;
    row.offsetCell.textContent = base.toString(16).padStart(8, "0");
    const address = nodes.addressOf(base);
    row.addressCell.textContent = address === null ? "" : address.toString(16).padStart(8, "0");
    let run = null;
    row.cells.forEach(([digits, character], column) => {
      const offset = base + column;
      const shown = column < this.#columns && offset < bytes.size;
      digits.hidden = character.hidden = column >= this.#columns;
      if (!shown) {
        setCell(digits, "", "");
        setCell(character, "", "");
        return;
      }
      if (run === null || offset >= run.end) run = nodes.at(offset);
      const byte = bytes.at(offset);
      const style = this.#style(offset, run, byte);
      setCell(digits, byte < 0 ? "\u00b7\u00b7" : DIGITS[byte], style);
      setCell(character, byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "\u00b7", style);
    });
  }

  #style(offset, run, byte) {
    const { nodes, selected, hot, cursor } = this.#page;
    let style = run === null ? "" : nodes.style(run.node);
    if (run !== null && nodes.odd[run.node]) style += " odd";
    if (run !== null && nodes.problem(run.node)) style += " bad";
    if (byte <= 0) style += " zero";
    if (holds(nodes, selected, offset)) style += this.#bright ? " selected" : " within";
    if (hot !== selected && holds(nodes, hot, offset)) style += " hot";
    if (offset === cursor) style += " cursor";
    return style;
  }

  #offsetUnder(event) {
    const cell = event.target.closest("i");
    const offset = cell === null ? NONE : cell.closest(".row").base + cell.column;
    return offset < this.#page.bytes.size ? offset : NONE;
  }

  #nodeUnder(event) {
    const offset = this.#offsetUnder(event);
    return offset === NONE ? NONE : (this.#page.nodes.at(offset)?.node ?? NONE);
  }

  #clicked(event) {
    const offset = this.#offsetUnder(event);
    if (offset !== NONE && getSelection().isCollapsed) this.#page.goTo(offset, { quiet: true });
  }

  #key(event) {
    const { cursor, bytes } = this.#page;
    const columns = this.#columns;
    const page = this.#list.page * columns;
    const inRow = cursor % columns;
    const last = bytes.size - 1;
    const to = {
      ArrowLeft: cursor - 1,
      ArrowRight: cursor + 1,
      ArrowUp: cursor - columns,
      ArrowDown: cursor + columns,
      PageUp: cursor - page,
      PageDown: cursor + page,
      Home: event.ctrlKey ? 0 : cursor - inRow,
      End: event.ctrlKey ? last : cursor - inRow + columns - 1,
    }[event.key];
    if (event.altKey || event.metaKey) return;
    if (to !== undefined) {
      event.preventDefault();
      this.#page.goTo(Math.max(0, Math.min(to, last)), { quiet: true });
    } else if (event.key === "Enter") this.#page.followSelected();
  }
}

function holds(nodes, node, offset) {
  return node !== NONE && offset >= nodes.offset[node] && offset < nodes.end(node);
}

function setCell(cell, text, style) {
  if (cell.shownText !== text) cell.textContent = cell.shownText = text;
  if (cell.shownStyle !== style) cell.className = cell.shownStyle = style;
}
