/* The whole file at a glance: its bytes from left to right in a few lines, one colour a kind. */

const LINE = 13;
const SPACE = 3;
const MOST_LINES = 6;

class FileMap {
  #page;
  #canvas;
  #tip;
  #width = 0;
  #lines = 1;
  #kinds = new Int16Array(0); // of each pixel; -1 is nothing
  #only = NONE;

  constructor(page, canvas, tip) {
    this.#page = page;
    this.#canvas = canvas;
    this.#tip = tip;
    this.#measure();
    onResize(canvas.parentElement, () => this.#measure());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    matchMedia("print").addEventListener("change", () => this.draw());
    canvas.addEventListener("pointermove", (event) => this.#moved(event));
    canvas.addEventListener("pointerleave", () => this.#left());
    canvas.addEventListener("click", (event) => {
      const offset = this.#offsetUnder(event);
      if (offset !== NONE) page.goTo(offset, { push: true });
    });
  }

  /* Shows one kind alone; NONE is all. */
  only(kind) {
    this.#only = kind;
    this.draw();
  }

  get #pixels() { return this.#width * this.#lines; }
  get #scale() { return this.#page.bytes.size / this.#pixels; }

  #measure() {
    const width = this.#canvas.clientWidth;
    if (width === this.#width || width === 0) return;
    this.#width = width;
    const size = this.#page.bytes.size;
    this.#lines = Math.max(1, Math.min(MOST_LINES, Math.ceil(size / (width * 6))));
    this.#canvas.style.height = `${this.#lines * (LINE + SPACE) - SPACE}px`;
    this.#sort();
    this.draw();
  }

  /* Which kind a pixel shows: of those in its bytes the rarest, so that nothing is lost. */
  #sort() {
    const { nodes, kinds } = this.#page;
    const rank = kinds.map((kind) => kind.rank);
    this.#kinds = new Int16Array(this.#pixels).fill(NONE);
    for (const run of nodes.tops) {
      const kind = nodes.kind[run.node];
      const end = Math.max(Math.ceil(run.end / this.#scale), Math.floor(run.start / this.#scale) + 1);
      for (let pixel = Math.floor(run.start / this.#scale); pixel < end; pixel++)
        if (this.#kinds[pixel] === NONE || rank[kind] < rank[this.#kinds[pixel]])
          this.#kinds[pixel] = kind;
    }
  }

  draw() {
    if (this.#width === 0 || this.#page.view === null) return;
    const ratio = devicePixelRatio;
    this.#canvas.width = this.#width * ratio;
    this.#canvas.height = (this.#lines * (LINE + SPACE) - SPACE) * ratio;
    const context = this.#canvas.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(this.#canvas);
    const colours = this.#page.kinds.map((kind) => style.getPropertyValue(`--${kind.id}`));
    for (let start = 0, end; start < this.#pixels; start = end) {
      const kind = this.#kinds[start];
      end = start + 1;
      while (end < this.#pixels && this.#kinds[end] === kind) end++;
      if (kind === NONE) continue;
      context.fillStyle = colours[kind];
      context.globalAlpha = this.#only === NONE || this.#only === kind ? 1 : 0.15;
      this.#fill(context, start, end);
    }
    context.globalAlpha = 1;
    this.#marks(context, style);
  }

  /* Pixels from `start` to `end`, over as many lines as they take. */
  #fill(context, start, end, low = 0, high = LINE) {
    while (start < end) {
      const line = Math.floor(start / this.#width);
      const stop = Math.min(end, (line + 1) * this.#width);
      const x = start - line * this.#width;
      context.fillRect(x, line * (LINE + SPACE) + low, stop - start, high - low);
      start = stop;
    }
  }

  #marks(context, style) {
    const { nodes, selected, hot, view } = this.#page;
    const pixels = (start, end) => {
      const first = Math.min(Math.floor(start / this.#scale), this.#pixels - 1);
      return [first, Math.max(first + 1, Math.min(Math.ceil(end / this.#scale), this.#pixels))];
    };
    context.fillStyle = style.getPropertyValue("--problem");
    for (const node of nodes.problems) {
      if (nodes.size[node] === 0 || nodes.offset[node] >= this.#page.bytes.size) continue;
      const [start, end] = pixels(nodes.offset[node], nodes.end(node));
      this.#fill(context, start, Math.max(end, start + 3), LINE - 3, LINE);
    }
    context.fillStyle = style.getPropertyValue("--ink");
    for (const node of [selected, hot]) {
      if (node === NONE || nodes.isGroup(node)) continue;
      const [start, end] = pixels(nodes.offset[node], nodes.end(node));
      this.#fill(context, Math.max(0, start - 1), Math.max(end, start + 2), -2, 1);
      this.#fill(context, Math.max(0, start - 1), Math.max(end, start + 2), LINE - 1, LINE + 2);
    }
    const [start, end] = pixels(view.firstOffset, view.endOffset);
    context.globalAlpha = 0.28;
    this.#fill(context, start, Math.max(end, start + 2));
    context.globalAlpha = 1;
  }

  #offsetUnder(event) {
    const box = this.#canvas.getBoundingClientRect();
    const line = Math.floor((event.clientY - box.top) / (LINE + SPACE));
    const x = Math.floor(event.clientX - box.left);
    const pixel = line * this.#width + x;
    if (line < 0 || line >= this.#lines || x < 0 || x >= this.#width) return NONE;
    return this.#inside(pixel);
  }

  /* The offset that a pixel means: where what it shows begins, if that is in its bytes. */
  #inside(pixel) {
    const { nodes, bytes } = this.#page;
    const start = Math.floor(pixel * this.#scale);
    const end = Math.min(bytes.size, Math.max(start + 1, Math.floor((pixel + 1) * this.#scale)));
    const tops = nodes.tops;
    let index = Math.max(0, lastNotAbove(tops, start, (run) => run.start));
    for (; index < tops.length && tops[index].start < end; index++)
      if (nodes.kind[tops[index].node] === this.#kinds[pixel] && tops[index].end > start)
        return Math.max(start, tops[index].start);
    return Math.min(start, bytes.size - 1);
  }

  #moved(event) {
    const { nodes } = this.#page;
    const offset = this.#offsetUnder(event);
    const run = offset === NONE ? null : nodes.at(offset);
    const top = run === null ? NONE : nodes.path(run.node)[0];
    this.#page.hover(top);
    this.#tip.hidden = top === NONE;
    if (top === NONE) return;
    const size = nodes.size[top].toLocaleString("en");
    this.#tip.textContent = `${nodes.name(top)} \u00b7 ${size} bytes at ${hex(nodes.offset[top])}`;
    const room = this.#width - this.#tip.offsetWidth;
    const x = event.clientX - this.#canvas.getBoundingClientRect().left;
    this.#tip.style.left = `${Math.max(0, Math.min(x - this.#tip.offsetWidth / 2, room))}px`;
    this.#tip.style.top = `${this.#canvas.offsetTop + this.#canvas.offsetHeight + 6}px`;
  }

  #left() {
    this.#tip.hidden = true;
    this.#page.hover(NONE);
  }
}
