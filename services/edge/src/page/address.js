// Channel names, and the addresses of their streams. Pure.

const NAME = /^[A-Za-z0-9_-]{1,128}$/;

export const isChannelName = (text) => NAME.test(text);

/**
 * The websocket address of a channel, beside the page: a path prefix that a proxy added stays, and http becomes ws.
 *
 * @param {string} base the page's own address
 * @param {'publish' | 'receive'} kind
 */
export function streamUrl(base, channel, key, kind, query = {}) {
  const url = new URL(`${encodeURIComponent(channel)}/${encodeURIComponent(key)}/${kind}`, base);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  url.search = new URLSearchParams(query).toString();
  url.hash = '';
  return url.href;
}

/** Where the node tells what there is beside the picture of a channel. */
export function eventsUrl(base, channel, key) {
  const url = new URL(`v1/channels/${encodeURIComponent(channel)}/events`, base);
  url.search = new URLSearchParams({ key }).toString();
  url.hash = '';
  return url.href;
}

/** What `#watch=NAME&key=KEY` asks for, or null. A fragment never reaches a server or its log, so a key may stand there. */
export function watchRequest(fragment) {
  const wanted = new URLSearchParams(fragment.replace(/^#/, ''));
  const channel = wanted.get('watch');
  return channel && isChannelName(channel) ? { channel, key: wanted.get('key') } : null;
}
