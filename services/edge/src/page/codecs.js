// Names of codecs and containers for people. Pure.

const CODECS = [
  [/^avc[13]/i, 'H.264'],
  [/^(hvc1|hev1)/i, 'H.265'],
  [/^av01/i, 'AV1'],
  [/^vp0?9/i, 'VP9'],
  [/^vp0?8/i, 'VP8'],
  [/^(mp4a\.(6b|69|40\.34)|mp3)/i, 'MP3'],
  [/^mp4a/i, 'AAC'],
  [/^opus/i, 'Opus'],
  [/^vorbis/i, 'Vorbis'],
  [/^flac/i, 'FLAC'],
  [/^ac-3/i, 'AC-3'],
  [/^ec-3/i, 'E-AC-3'],
  [/^(mjpeg|jpeg)/i, 'MJPEG'],
];

const CONTAINERS = new Map([
  ['flv', 'FLV'],
  ['mpegts', 'MPEG-TS'],
  ['fmp4', 'fMP4'],
  ['webm', 'WebM'],
  ['mjpeg', 'MJPEG'],
  ['h264', 'H.264 byte stream'],
  ['h265', 'H.265 byte stream'],
]);

export function codecName(codec) {
  return CODECS.find(([pattern]) => pattern.test(codec))?.[1] ?? codec;
}

export function containerName(container) {
  return CONTAINERS.get(container) ?? 'unknown container';
}

/** `H.264 in fMP4`. */
export function packingText(codec, container) {
  const names = new Set([codec && codecName(codec), containerName(container)]);
  return [...names].filter(Boolean).join(' in ');
}

/** `1280 × 720 H.264, AAC 48 kHz`, as much of it as is known. */
export function tracksText(tracks) {
  return tracks.map(trackText).filter(Boolean).join(', ');
}

function trackText({ kind, codec, width, height, sample_rate: sampleRate }) {
  const name = codec ? codecName(codec) : kind;
  if (kind === 'video' && width && height) return `${width} × ${height} ${name}`;
  if (kind === 'audio' && sampleRate) return `${name} ${sampleRate / 1000} kHz`;
  return name;
}

/**
 * Why this browser cannot play what the node announced, or null when it can.
 *
 * @param {{container: string | null, mime: string | null, tracks?: object[]}} start
 * @param {(mime: string) => boolean} isSupported
 */
export function whyUnplayable({ container, mime, tracks = [] }, isSupported) {
  if (!mime) {
    return CONTAINERS.has(container)
      ? `Browsers cannot play ${containerName(container)}, and the node does not convert this stream`
      : 'The node does not know what this stream is made of; it relays the bytes, but no browser can play them';
  }
  if (isSupported(mime)) return null;
  const [type] = mime.split(';');
  const codecs = /codecs="?([^"]*)"?/.exec(mime)?.[1].split(',').map((codec) => codec.trim()).filter(Boolean)
    ?? tracks.map((track) => track.codec).filter(Boolean);
  const missing = codecs.filter((codec) => !isSupported(`${type}; codecs="${codec}"`));
  const blamed = (missing.length > 0 ? missing : codecs).map((codec) => `${codecName(codec)} (${codec})`).join(' and ');
  return `This browser cannot play ${blamed || type} in ${containerName(container)}`;
}
