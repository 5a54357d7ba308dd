// Publishers and receivers outside the browser: ffmpeg and the command line client.

import { once } from 'node:events';

import { RELAYCAST } from './node.js';
import { end, start } from './process.js';

const VIDEO = ['-re', '-f', 'lavfi', '-i', 'testsrc2=size=320x180:rate=20'];
const AUDIO = ['-re', '-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=48000'];
const H264 = ['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-pix_fmt', 'yuv420p', '-g', '20', '-b:v', '400k'];
const AAC = ['-c:a', 'aac', '-b:a', '96k'];
const OPUS = ['-c:a', 'libopus', '-b:a', '64k'];
const REALTIME_VPX = ['-deadline', 'realtime', '-cpu-used', '8', '-g', '20', '-b:v', '400k'];
const WEBM = ['-f', 'webm', '-live', '1', '-cluster_time_limit', '500'];
const FMP4 = ['-f', 'mp4', '-movflags', 'empty_moov+default_base_moof+frag_keyframe', '-frag_duration', '200000'];

/** What ffmpeg is told, by what it makes. */
export const STREAMS = {
  'fMP4 with H.264 and AAC': [...VIDEO, ...AUDIO, ...H264, ...AAC, ...FMP4],
  'FLV with H.264 and AAC': [...VIDEO, ...AUDIO, ...H264, ...AAC, '-f', 'flv'],
  'MPEG-TS with H.264 and AAC': [...VIDEO, ...AUDIO, ...H264, ...AAC, '-f', 'mpegts'],
  'WebM with VP8 and Opus': [...VIDEO, ...AUDIO, '-c:v', 'libvpx', ...REALTIME_VPX, ...OPUS, ...WEBM],
  'WebM with VP9 and Opus': [...VIDEO, ...AUDIO, '-c:v', 'libvpx-vp9', ...REALTIME_VPX, '-row-mt', '1', ...OPUS, ...WEBM],
  'an H.264 byte stream': [...VIDEO, ...H264, '-f', 'h264'],
  'an H.265 byte stream': [...VIDEO, '-c:v', 'libx265', '-preset', 'ultrafast', '-x265-params', 'log-level=none:keyint=20', '-f', 'hevc'],
  MJPEG: [...VIDEO, '-c:v', 'mjpeg', '-q:v', '5', '-f', 'mjpeg'],
};

/** ffmpeg piped into the command line publisher, begun again whenever the publisher ends, as a camera would. */
export class Source {
  #address;
  #kind;
  #ffmpeg;
  #publisher;
  #ended = false;

  constructor(address, kind) {
    this.#address = address;
    this.#kind = kind;
    this.#begin();
  }

  /** The publisher dies without a word; `#begin` gives the channel its next publication. */
  async vanish() {
    await end(this.#publisher);
  }

  async end() {
    this.#ended = true;
    await Promise.all([end(this.#ffmpeg), end(this.#publisher)]);
  }

  async #begin() {
    while (!this.#ended) {
      this.#ffmpeg = start('ffmpeg', ['-v', 'error', '-nostdin', ...STREAMS[this.#kind], 'pipe:1'], ['ignore', 'pipe', 'inherit']);
      this.#publisher = start(RELAYCAST, ['publish', this.#address], ['pipe', 'ignore', 'ignore']);
      this.#ffmpeg.stdout.pipe(this.#publisher.stdin);
      await once(this.#publisher, 'exit');
      await end(this.#ffmpeg);
    }
  }
}

/**
 * Receives a channel and decodes it until there are enough pictures.
 *
 * @returns {Promise<{frames: number, complaints: string}>} complaints: everything ffmpeg found wrong
 */
export async function decode(address, frames) {
  const receiver = start(RELAYCAST, ['receive', address], ['ignore', 'pipe', 'ignore']);
  const args = ['-v', 'warning', '-nostdin', '-xerror', '-i', 'pipe:0', '-map', '0:v', '-frames:v', String(frames), '-f', 'framehash', 'pipe:1'];
  const ffmpeg = start('ffmpeg', args, ['pipe', 'pipe', 'pipe']);
  receiver.stdout.pipe(ffmpeg.stdin);
  const [hashes, complaints] = await Promise.all([text(ffmpeg.stdout), text(ffmpeg.stderr)]);
  await end(receiver);
  return { frames: hashes.split('\n').filter((line) => /^\d/.test(line)).length, complaints };
}

async function text(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts).toString();
}
