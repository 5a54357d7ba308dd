// Where one is on the page, and where its questions go. Pure.

/** What a fragment can show. */
const LISTS = ['nodes', 'channels', 'sources', 'events'];

/**
 * `#nodes`, `#sources`, `#channel=NAME`: what a fragment asks for. Anything else is the list of nodes.
 *
 * @returns {{view: 'nodes' | 'channels' | 'sources' | 'events' | 'node' | 'channel', name: string | null}}
 */
export function routeOf(fragment) {
  const text = fragment.replace(/^#/, '');
  if (LISTS.includes(text)) return { view: text, name: null };
  const wanted = new URLSearchParams(text);
  for (const view of ['channel', 'node']) {
    const name = wanted.get(view);
    if (name) return { view, name };
  }
  return { view: 'nodes', name: null };
}

export const nodeLink = (name) => `#node=${encodeURIComponent(name)}`;

export const channelLink = (name) => `#channel=${encodeURIComponent(name)}`;

/** The list that a view belongs to. */
export const listOf = (view) => ({ node: 'nodes', channel: 'channels' })[view] ?? view;

/**
 * An address of the API, beside the page: a path prefix that a proxy added stays.
 *
 * @param {string} base the page's own address
 * @param {string[]} path its parts, names among them
 * @param {object} query what is null, undefined or empty is not asked
 */
export function apiUrl(base, path, query = {}) {
  const url = new URL(path.map(encodePart).join('/'), base);
  url.hash = '';
  url.search = '';
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') url.searchParams.set(name, value);
  }
  return url.href;
}

// A colon parts a name from what is done to it, and no name has one.
const encodePart = (part) => encodeURIComponent(part).replaceAll('%3A', ':');

/**
 * The page that plays a channel, of what a pick answers; null where that is no page. It comes over the network, so it must not
 * become a script. The key goes into the fragment, which no server and no log sees; without one the page asks for it.
 */
export function playerUrl(page, key) {
  if (typeof page !== 'string' || !/^https?:\/\//.test(page) || !URL.canParse(page)) return null;
  const url = new URL(page);
  if (key) url.hash += `&key=${encodeURIComponent(key)}`;
  return url.href;
}
