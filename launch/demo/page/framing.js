/** @file Lays a drawing into the field of a data set as its own pictures lie there. */

/**
 * Returns what a model sees of a drawing: one byte for each pixel, row by row; null if it is blank.
 *
 * @param ink numbers from 0 to 255, row by row.
 * @param width columns of the drawing.
 * @param framing side, centre, row and column, in pixels of the field; see launch/demo/framing.py.
 * @param shape height and width of the field.
 */
export function lay(ink, width, framing, [height, fieldWidth]) {
  const rows = sums(ink, width, (row) => row, ink.length / width);
  const columns = sums(ink, width, (row, column) => column, width);
  const [top, bottom] = span(rows);
  const [left, right] = span(columns);
  if (top === bottom) return null;
  const scale = framing.side / Math.max(bottom - top, right - left);
  const down = place(rows, top, bottom, scale, framing.centre, framing.row, height);
  const across = place(columns, left, right, scale, framing.centre, framing.column, fieldWidth);
  return resample(ink, width, scale, down, across, height, fieldWidth);
}

/** Sums the ink by an index of its row and column. */
function sums(ink, width, index, length) {
  const total = new Float64Array(length);
  ink.forEach((value, i) => { total[index(Math.floor(i / width), i % width)] += value; });
  return total;
}

/** The first place that is not zero, and the one after the last. */
function span(values) {
  const first = values.findIndex((value) => value > 0);
  return first < 0 ? [0, 0] : [first, values.findLastIndex((value) => value > 0) + 1];
}

/**
 * Returns what to add to a scaled coordinate of the drawing to get one of the field.
 *
 * The box begins at a whole pixel of the field and lies inside it.
 */
function place(values, start, end, scale, centre, at, length) {
  let middle = (start + end) / 2;
  if (centre === "mass") {
    const mass = values.reduce((sum, value) => sum + value, 0);
    middle = values.reduce((sum, value, i) => sum + value * (i + 0.5), 0) / mass;
  }
  const first = Math.round(at - scale * (middle - start));
  const last = Math.max(0, Math.floor(length - scale * (end - start)));
  return Math.min(Math.max(first, 0), last) - scale * start;
}

/** Averages the ink over the area of each pixel of the field. */
function resample(ink, width, scale, down, across, height, fieldWidth) {
  const field = new Float64Array(height * fieldWidth);
  ink.forEach((value, i) => {
    if (!value) return;
    const y = scale * Math.floor(i / width) + down;
    const x = scale * (i % width) + across;
    for (const [row, covered] of cells(y, y + scale, height)) {
      for (const [column, part] of cells(x, x + scale, fieldWidth)) {
        field[row * fieldWidth + column] += value * covered * part;
      }
    }
  });
  return Uint8Array.from(field, (value) => Math.min(255, Math.round(value)));
}

/** The cells that an interval touches, and how much of each. */
function cells(start, end, length) {
  const found = [];
  for (let cell = Math.max(0, Math.floor(start)); cell < Math.min(end, length); cell++) {
    const covered = Math.min(end, cell + 1) - Math.max(start, cell);
    if (covered > 0) found.push([cell, covered]);
  }
  return found;
}
