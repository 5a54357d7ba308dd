// What a source does, in words. Pure.

const STATES = {
  idle: 'The camera is off.',
  starting: 'The camera is starting.',
  live: 'The camera sends; its picture is on its way.',
  stopping: 'The camera is stopping.',
  external: 'The camera streams to somewhere else.',
};

const REASONS = {
  offline: 'The device is offline.',
  no_media: 'It was asked, and no picture comes.',
  no_reply: 'The device does not answer.',
  decrypt_failed: 'What it sends cannot be decrypted: the key is another.',
  limit: 'The device sends as many pictures as it can.',
  paused: 'The device has paused it for a while.',
  gone: 'The camera is not there any more.',
  no_node: 'No node takes it just now.',
  no_broker: 'Its broker cannot be reached just now.',
};

/**
 * What the screen says while nobody publishes yet.
 * @param {{state: string, reason?: string} | null} source
 */
export function sourceTitle(source) {
  if (!source || !Object.hasOwn(STATES, source.state)) return 'Waiting for a publisher';
  return source.state === 'external' ? 'Streams elsewhere' : 'Waiting for the camera';
}

/** @param {{state: string, reason?: string, online?: boolean} | null} source */
export function sourceWords(source) {
  if (!source || !Object.hasOwn(STATES, source.state)) return '';
  return [STATES[source.state], reasonWords(source)].filter(Boolean).join(' ');
}

function reasonWords({ reason, online }) {
  if (typeof reason !== 'string') return online === false ? REASONS.offline : '';
  if (Object.hasOwn(REASONS, reason)) return REASONS[reason];
  const [, code] = /^device says (-?\d{1,20})$/.exec(reason) ?? [];
  return code ? `The device says ${code}.` : '';
}
