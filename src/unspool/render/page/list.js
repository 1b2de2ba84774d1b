/* A list of any length of which only the rows in sight are elements.

   Browsers cut elements higher than some 17 million pixels, which a dump of 14 MB reaches: a
   higher list is scrolled by a shorter bar, and its rows follow the wheel by themselves. */

const TALLEST = 8_000_000;

class VirtualList {
  #rows = [];
  #window;
  #spacer;
  #make;
  #fill;
  #top = 0;
  #barAt = 0;
  #frame = 0;

  /* `make()` gives an empty row element, `fill(row, index)` fills it; both get no state. */
  constructor(element, { rowHeight, make, fill }) {
    this.element = element;
    this.rowHeight = rowHeight;
    this.count = 0;
    this.#make = make;
    this.#fill = fill;
    this.#window = createElement("div", "window");
    this.#spacer = createElement("div", "spacer");
    element.append(this.#window, this.#spacer);
    element.addEventListener("scroll", () => this.#scrolled());
    element.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    onResize(element, () => this.draw());
  }

  get height() { return this.element.clientHeight; }
  get page() { return Math.max(1, Math.floor(this.height / this.rowHeight) - 1); }
  get first() { return Math.floor(this.#top / this.rowHeight); }
  get last() { return Math.min(this.count, Math.ceil((this.#top + this.height) / this.rowHeight)) - 1; }
  get #total() { return this.count * this.rowHeight; }
  get #ratio() {
    const most = this.#total - this.height;
    return this.#total <= TALLEST || most <= 0 ? 1 : (TALLEST - this.height) / most;
  }

  resize(count) {
    this.count = count;
    this.#spacer.style.height = `${Math.min(this.#total, TALLEST)}px`;
    this.#moveTo(this.#top);
    this.render();
  }

  /* Shows a row: where it is if it is in sight, a third down the list otherwise. */
  reveal(index) {
    const at = index * this.rowHeight;
    if (at >= this.#top && at + this.rowHeight <= this.#top + this.height) return;
    const near = Math.abs(at - this.#top) < this.height + this.rowHeight * 2;
    if (this.height === 0) this.#moveTo(at);
    else if (near && at < this.#top) this.#moveTo(at);
    else if (near) this.#moveTo(at + this.rowHeight - this.height);
    else this.#moveTo(at - this.height / 3);
    this.render();
  }

  /* Draws the rows in sight before the next frame. */
  render() {
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const first = this.first;
    const wanted = Math.ceil(this.height / this.rowHeight) + 1;
    while (this.#rows.length < wanted) {
      const row = this.#make();
      this.#rows.push(row);
      this.#window.append(row);
    }
    this.#window.style.transform = `translateY(${first * this.rowHeight - this.#top}px)`;
    this.#rows.forEach((row, place) => {
      row.hidden = place >= wanted || first + place >= this.count;
      if (!row.hidden) this.#fill(row, first + place);
    });
  }

  #moveTo(top) {
    this.#top = Math.max(0, Math.min(top, this.#total - this.height));
    this.element.scrollTop = Math.round(this.#top * this.#ratio);
    this.#barAt = this.element.scrollTop;
  }

  #scrolled() {
    // Where we put the bar ourselves, `#top` knows better than the bar.
    if (Math.abs(this.element.scrollTop - this.#barAt) < 1) return;
    this.#barAt = this.element.scrollTop;
    this.#top = this.#barAt / this.#ratio;
    this.draw();
  }

  #wheel(event) {
    if (this.#ratio === 1 || event.ctrlKey || event.deltaY === 0) return;
    event.preventDefault();
    this.#moveTo(this.#top + event.deltaY * (event.deltaMode === 1 ? this.rowHeight : 1));
    this.render();
  }
}

/* Calls back for a new size in a frame of its own: what it changes may change sizes again. */
function onResize(element, callback) {
  new ResizeObserver(() => requestAnimationFrame(callback)).observe(element);
}

/* Text from the dump goes into elements as text alone, never as markup. */
function createElement(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className !== "") element.className = className;
  if (text !== "") element.textContent = text;
  return element;
}
