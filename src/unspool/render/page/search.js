/* One box for everything: names, values, bytes, text, offsets, addresses. */

const MOST_FIELDS = 300;
const MOST_PLACES = 100;

class Search {
  #page;
  #input;
  #list;
  #results = [];
  #at = NONE;
  #lower = null; // every string of the tree in lower case
  #waiting = 0;

  constructor(page, input, list) {
    this.#page = page;
    this.#input = input;
    this.#list = list;
    input.addEventListener("input", () => {
      clearTimeout(this.#waiting);
      this.#waiting = setTimeout(() => this.run(), 90);
    });
    input.addEventListener("keydown", (event) => this.#key(event));
    input.addEventListener("focus", () => this.#show(this.#results.length > 0));
    document.addEventListener("pointerdown", (event) => {
      if (event.target !== input && !list.contains(event.target)) this.#show(false);
    });
  }

  focus() {
    this.#input.focus();
    this.#input.select();
  }

  /* Goes to the result that comes `step` after the one that was last gone to. */
  step(step) {
    if (this.#results.length === 0) return;
    const count = this.#results.length;
    this.#choose((Math.max(this.#at, step < 0 ? 0 : -1) + step + count) % count, true);
  }

  run() {
    clearTimeout(this.#waiting);
    this.#waiting = 0;
    const query = this.#input.value.trim();
    this.#at = NONE;
    this.#results = query === "" ? [] : [
      ...this.#places(query),
      ...this.#fields(query),
      ...this.#occurrences(query),
    ];
    this.#draw(query);
  }

  /* What a number may mean: an offset, an address. */
  #places(query) {
    const { nodes, bytes } = this.#page;
    const found = [];
    for (const number of numbersOf(query)) {
      const memory = nodes.memoryAt(number);
      if (memory !== null) {
        const offset = memory.offset + Number(number - memory.start);
        found.push(this.#place("Go to process address", hex(number), offset));
      }
      if (number < BigInt(bytes.size))
        found.push(this.#place("Go to file offset", hex(number), Number(number)));
    }
    return found;
  }

  #place(group, label, offset) {
    const { nodes } = this.#page;
    const run = nodes.at(offset);
    const where = run === null ? "" : nodes.title(run.node);
    return { group, label, where, go: () => this.#page.goTo(offset, { push: true }) };
  }

  #fields(query) {
    const { nodes } = this.#page;
    this.#lower ??= nodes.strings.map((text) => text.toLowerCase());
    const needle = query.toLowerCase();
    const hit = this.#lower.map((text) => text.includes(needle));
    const numbers = new Set(numbersOf(query));
    // Names first, then values, then meanings and problems.
    const found = [[], [], []];
    for (let node = 0; node < nodes.count && found[0].length < MOST_FIELDS; node++) {
      const text = (column) => hit[nodes.texts[node * 5 + column]];
      const list = text(0) || text(1) ? 0 : text(2) || this.#equals(node, numbers) ? 1 : 2;
      if (list < 2 || text(3) || text(4)) found[list].push(node);
    }
    const group = "Names, values and meanings";
    return found.flat().slice(0, MOST_FIELDS).map((node) => ({
      group,
      label: nodes.title(node) || nodes.name(node),
      where: nodes.value(node),
      go: () => this.#page.select(node, { push: true }),
    }));
  }

  #equals(node, numbers) {
    const { nodes, bytes } = this.#page;
    const size = nodes.size[node];
    if (numbers.size === 0 || ![1, 2, 4, 8].includes(size) || nodes.hasChildren(node)) return false;
    return numbers.has(bytes.integer(nodes.offset[node], size));
  }

  /* Where hex digits or text are in the bytes; text as UTF-8 and as UTF-16. */
  #occurrences(query) {
    const offsets = new Set();
    for (const pattern of patternsOf(query))
      for (const offset of this.#page.bytes.find(pattern, MOST_PLACES)) offsets.add(offset);
    return [...offsets]
      .sort((a, b) => a - b)
      .slice(0, MOST_PLACES)
      .map((offset) => this.#place("Bytes", hex(offset), offset));
  }

  #draw(query) {
    this.#list.replaceChildren();
    let group = "";
    this.#results.forEach((result, index) => {
      if (result.group !== group) {
        const count = this.#results.filter((each) => each.group === result.group).length;
        const most = count === MOST_FIELDS || count === MOST_PLACES ? "the first " : "";
        const heading = createElement("li", "heading", result.group);
        if (count > 1) heading.append(createElement("small", "", `${most}${count}`));
        this.#list.append(heading);
        group = result.group;
      }
      const line = createElement("li", "result");
      line.id = `result-${index}`;
      line.setAttribute("role", "option");
      line.append(createElement("span", "label", result.label));
      line.append(createElement("span", "where", result.where));
      line.addEventListener("click", () => this.#choose(index));
      this.#list.append(line);
    });
    if (this.#results.length === 0)
      this.#list.append(createElement("li", "heading", "Nothing has that name, value or bytes."));
    this.#show(query !== "");
  }

  #show(shown) {
    this.#list.hidden = !shown;
    this.#input.setAttribute("aria-expanded", shown);
  }

  #mark(index) {
    this.#at = index;
    for (const line of this.#list.querySelectorAll(".result"))
      line.setAttribute("aria-selected", line.id === `result-${index}`);
    this.#input.setAttribute("aria-activedescendant", index === NONE ? "" : `result-${index}`);
    this.#list.querySelector(`#result-${index}`)?.scrollIntoView({ block: "nearest" });
  }

  #choose(index, quiet = false) {
    this.#mark(index);
    this.#results[index].go();
    this.#show(false);
    if (!quiet) this.#input.blur();
  }

  #key(event) {
    if (this.#waiting !== 0 && ["Enter", "ArrowDown", "ArrowUp"].includes(event.key)) this.run();
    const last = this.#results.length - 1;
    if (event.key === "Escape") {
      this.#show(false);
      this.#input.blur();
    } else if (event.key === "Enter") {
      if (this.#results.length > 0) this.#choose(Math.max(0, this.#at));
    } else if (event.key === "ArrowDown") this.#mark(Math.min(last, this.#at + 1));
    else if (event.key === "ArrowUp") this.#mark(Math.max(0, this.#at - 1));
    else return;
    event.preventDefault();
  }
}

/* The numbers that a query may be: `0x1f`, `1fh`, decimal digits, hex digits with a letter. */
function numbersOf(query) {
  const digits = query.replace(/[_`,]/g, "");
  if (/^0x[0-9a-f]{1,16}$/i.test(digits)) return [BigInt(digits)];
  if (/^[0-9a-f]{1,16}h$/i.test(digits)) return [BigInt(`0x${digits.slice(0, -1)}`)];
  const found = [];
  if (/^\d{1,19}$/.test(digits)) found.push(BigInt(digits));
  if (/^[0-9a-f]{3,16}$/i.test(digits)) found.push(BigInt(`0x${digits}`));
  return found;
}

function patternsOf(query) {
  const quoted = /^"(.+?)"?$/.exec(query);
  const digits = query.replace(/\s+/g, "");
  if (quoted === null && /^([0-9a-f]{2}\s*){2,}$/i.test(query) && digits.length % 2 === 0)
    return [Uint8Array.from(digits.match(/../g), (pair) => parseInt(pair, 16))];
  const text = quoted === null ? query : quoted[1];
  if (text.length < 2) return [];
  const wide = new Uint8Array(text.length * 2);
  for (let index = 0; index < text.length; index++) {
    wide[index * 2] = text.charCodeAt(index);
    wide[index * 2 + 1] = text.charCodeAt(index) >> 8;
  }
  return [new TextEncoder().encode(text), wide];
}
