// JSON as rows of a name and a text. Pure, and bounded: what a device tells has any shape and size.

export const ROWS_MAX = 60;
export const DEPTH_MAX = 8;
export const TEXT_MAX = 160;

const cut = (text) => (text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX - 1)}…` : text);

/**
 * @param {unknown} value
 * @returns {{rows: [string, string][], isCut: boolean}}
 */
export function flatten(value) {
  const rows = [];
  let isCut = false;
  const visit = (value, path) => {
    if (rows.length >= ROWS_MAX) {
      isCut = true;
      return;
    }
    const isNested = typeof value === 'object' && value !== null && path.length < DEPTH_MAX;
    // Names of rows are numbers where the value is a list.
    const names = isNested ? Object.keys(value) : [];
    if (names.length === 0) rows.push([cut(path.join(' › ')), cut(valueText(value))]);
    for (const name of names) {
      if (isCut) return;
      visit(value[name], [...path, name]);
    }
  };
  visit(value, []);
  return { rows, isCut };
}

function valueText(value) {
  if (value === null || value === '') return '–';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'object') return Object.keys(value).length === 0 ? '–' : '…';
  return String(value);
}
