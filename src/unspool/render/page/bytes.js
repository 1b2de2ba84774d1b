/* The dump's bytes: pieces of base64 in the page, decoded when they are first looked at. */

class Bytes {
  #pieces = new Map(); // number -> element, later its Uint8Array
  #pieceSize;
  #nothing;

  constructor(size, pieceSize, elements) {
    this.size = size;
    this.#pieceSize = pieceSize;
    this.#nothing = new Uint8Array(pieceSize);
    for (const element of elements) this.#pieces.set(Number(element.dataset.piece), element);
  }

  /* The byte at an offset; -1 where the page does not hold it. */
  at(offset) {
    if (offset < 0 || offset >= this.size) return -1;
    const number = Math.floor(offset / this.#pieceSize);
    const piece = this.#piece(number);
    return piece === null ? -1 : piece[offset - number * this.#pieceSize];
  }

  /* The little-endian integer of `size` bytes as a BigInt; null where bytes are missing. */
  integer(offset, size) {
    let value = 0n;
    for (let index = size - 1; index >= 0; index--) {
      const byte = this.at(offset + index);
      if (byte < 0) return null;
      value = (value << 8n) | BigInt(byte);
    }
    return value;
  }

  /* Offsets at which the pattern is, at most `limit` of them. */
  find(pattern, limit) {
    const found = [];
    for (const number of [...this.#pieces.keys()].sort((a, b) => a - b)) {
      const piece = this.#piece(number);
      const base = number * this.#pieceSize;
      const end = Math.min(piece.length, this.size - base);
      let index = piece.indexOf(pattern[0]);
      while (index >= 0 && index < end && found.length < limit) {
        if (this.#matches(pattern, base + index)) found.push(base + index);
        index = piece.indexOf(pattern[0], index + 1);
      }
    }
    return found;
  }

  #matches(pattern, offset) {
    for (let index = 1; index < pattern.length; index++)
      if (this.at(offset + index) !== pattern[index]) return false;
    return true;
  }

  #piece(number) {
    const held = this.#pieces.get(number);
    if (held === undefined) return null;
    if (held instanceof Uint8Array) return held;
    const text = held.textContent;
    const piece = text === "" ? this.#nothing : Bytes.#decode(text);
    this.#pieces.set(number, piece);
    held.remove();
    return piece;
  }

  static #decode(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let index = 0; index < bytes.length; index++) bytes[index] = binary.charCodeAt(index);
    return bytes;
  }
}
