/** @file A canvas to draw on, by mouse, pen or finger. */

const PEN = 22; // Of 280 pixels: about two of the 28 of a digit.

export class Pad {
  /**
   * @param canvas is drawn on in white; nothing else is on it.
   * @param onChange is called after each change.
   */
  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.onChange = onChange;
    this.picture = null;
    canvas.addEventListener("pointerdown", (event) => this.#start(event));
    canvas.addEventListener("pointermove", (event) => this.#go(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => { this.last = null; });
    }
  }

  clear() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.picture = null;
    this.onChange();
  }

  /** Shows a picture as it is: bytes, row by row. The next stroke begins a new drawing. */
  show(picture, [height, width]) {
    this.clear();
    this.picture = picture;
    this.context.imageSmoothingEnabled = false;
    this.context.drawImage(inked(picture, height, width), 0, 0, this.canvas.width, this.canvas.height);
    this.onChange();
  }

  /** The ink, from 0 to 255, row by row. */
  ink() {
    const { width, height } = this.canvas;
    const pixels = this.context.getImageData(0, 0, width, height).data;
    return Uint8Array.from({ length: width * height }, (_, i) => pixels[4 * i + 3]);
  }

  #start(event) {
    if (event.button !== 0) return;
    if (this.picture) this.clear();
    this.canvas.setPointerCapture(event.pointerId);
    this.last = this.#at(event);
    this.#line(this.last); // A dot.
    this.onChange();
  }

  #go(event) {
    if (!this.last) return;
    for (const part of event.getCoalescedEvents()) this.#line(this.#at(part));
    this.#line(this.#at(event));
    this.onChange();
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  #line(to) {
    const { context } = this;
    Object.assign(context, { lineWidth: PEN, lineCap: "round", lineJoin: "round", strokeStyle: "#fff" });
    context.beginPath();
    context.moveTo(...this.last);
    context.lineTo(...to);
    context.stroke();
    this.last = to;
  }
}

/** A canvas that holds a picture as white ink. */
export function inked(picture, height, width, canvas = document.createElement("canvas")) {
  Object.assign(canvas, { height, width });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  picture.forEach((value, i) => image.data.set([255, 255, 255, value], 4 * i));
  context.putImageData(image, 0, 0);
  return canvas;
}
