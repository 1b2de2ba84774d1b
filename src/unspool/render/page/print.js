/* On paper there is nothing to scroll: what is opened in the tree and the selected bytes are
   written out, as far as a person would still turn the pages. */

const MOST_PRINTED_LINES = 3000;
const MOST_PRINTED_BYTES = 4096;

class Print {
  constructor(page, lines, section) {
    addEventListener("beforeprint", () => {
      section.replaceChildren(...printedTree(page.nodes, lines()), ...printedBytes(page));
    });
    addEventListener("afterprint", () => section.replaceChildren());
  }
}

function printedTree(nodes, lines) {
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const title of ["Offset", "Name", "Value", "Meaning"])
    head.append(createElement("th", "", title));
  const body = table.createTBody();
  for (const node of lines.slice(0, MOST_PRINTED_LINES)) {
    const row = body.insertRow();
    row.className = nodes.isGroup(node) ? "group" : nodes.style(node);
    const offset = nodes.isGroup(node) ? "" : hex(nodes.offset[node]);
    const texts = [offset, nodes.name(node), nodes.value(node)];
    for (const text of [...texts, nodes.problem(node) || nodes.meaning(node)])
      row.insertCell().textContent = text;
    row.cells[1].style.paddingLeft = `${nodes.depth[node] * 10}px`;
  }
  const more = lines.length - MOST_PRINTED_LINES;
  return more > 0 ? [table, createElement("p", "", `\u2026 and ${counted(more, "line")} more`)] : [table];
}

function printedBytes(page) {
  const { nodes, bytes, selected } = page;
  if (selected === NONE || nodes.isGroup(selected) || nodes.size[selected] === 0) return [];
  const start = nodes.offset[selected];
  const end = Math.min(nodes.end(selected), bytes.size, start + MOST_PRINTED_BYTES);
  const lines = [];
  for (let at = start; at < end; at += 16) {
    const row = [];
    for (let offset = at; offset < Math.min(at + 16, end); offset++) row.push(bytes.at(offset));
    const digits = row.map((byte) => (byte < 0 ? "\u00b7\u00b7" : DIGITS[byte])).join(" ").padEnd(47);
    const text = row.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "\u00b7"));
    lines.push(`${at.toString(16).padStart(8, "0")}  ${digits}  ${text.join("")}`);
  }
  const title = createElement("h2", "", nodes.title(selected));
  return [title, createElement("pre", "", lines.join("\n"))];
}
