// The picture of where a channel flows: its origin at the left, the nodes that pull it at the right. Pure.

/** More nodes than these are summed up in one box: the list below the picture has them all. */
export const BOXES_MAX = 8;

/** Height of a box and the room between two, in pixels; the style sheet has the same. */
const BOX = 48;
const GAP = 10;

const WIDTH_MIN = 1.5;
const WIDTH_MAX = 7;

/**
 * @param {{origin?: string, nodes: {node: string, part: string, receivers: number}[]}} channel
 * @returns {{origin: object | null, others: object[], rest: {nodes: number, receivers: number} | null}}
 */
export function flowOf({ origin = null, nodes = [] }) {
  const source = nodes.find(({ node, part }) => part === 'origin' || node === origin);
  const others = nodes.filter((carrier) => carrier !== source);
  if (others.length <= BOXES_MAX) return { origin: source ?? (origin ? { node: origin, part: 'origin', receivers: 0 } : null), others, rest: null };
  // The most watched, but in the order of names: boxes that change places with every viewer cannot be followed.
  const most = new Set(others.toSorted((a, b) => b.receivers - a.receivers).slice(0, BOXES_MAX - 1));
  const summed = others.filter((carrier) => !most.has(carrier));
  return {
    origin: source ?? (origin ? { node: origin, part: 'origin', receivers: 0 } : null),
    others: others.filter((carrier) => most.has(carrier)),
    rest: { nodes: summed.length, receivers: summed.reduce((sum, { receivers }) => sum + receivers, 0) },
  };
}

export const heightOf = (boxes) => Math.max(1, boxes) * (BOX + GAP) - GAP;

/** Lines from the middle of the left edge to each box at the right, in a view box of 100 × `heightOf(n)`. */
export function linesTo(receivers) {
  const height = heightOf(receivers.length);
  const most = Math.max(1, ...receivers);
  return receivers.map((count, i) => {
    const y = i * (BOX + GAP) + BOX / 2;
    return {
      path: `M0 ${height / 2}C50 ${height / 2} 50 ${y} 100 ${y}`,
      width: Number((WIDTH_MIN + ((WIDTH_MAX - WIDTH_MIN) * count) / most).toFixed(1)),
    };
  });
}
