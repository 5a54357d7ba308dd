// Publishes one MediaStream on one channel.
//
// Owns the link and the recording that feeds it. Every connection gets its own recording: a node can only start viewers at a
// header, and a recorder writes its header once.

import { Link } from './link.js';
import { RateMeter } from './meters.js';

// Short chunks are what latency is made of; shorter ones cost more than they save.
const CHUNK_MS = 200;
// How long a viewer who joins waits for a picture, at most.
const KEY_FRAME_EVERY_MS = 1000;
const AUDIO_BITS_PER_SECOND = 96_000;

// What waits to leave is latency for everybody. Past this much of it, old media is not worth sending.
const BACKLOG_MS_MAX = 3000;
const BACKLOG_BYTES_MIN = 256 * 1024;
// Each new recording after a backlog asks for less, until there is nothing left to look at.
const SLOWER = 0.6;
const BITS_PER_SECOND_MIN = 150_000;

const REPORT_EVERY_MS = 500;

/** What a recorder can make, the lowest latency first. An MP4 recorder writes only whole GOPs, WebM every frame. */
const FORMATS = [
  { mime: 'video/webm;codecs="vp8,opus"', label: 'WebM, VP8 + Opus: lowest latency' },
  { mime: 'video/webm;codecs="vp9,opus"', label: 'WebM, VP9 + Opus: better picture, more work' },
  { mime: 'video/mp4;codecs="avc1.42E01F,mp4a.40.2"', label: 'MP4, H.264 + AAC: plays everywhere, a second later' },
  { mime: 'video/mp4;codecs="avc1.42E01F,opus"', label: 'MP4, H.264 + Opus: plays widely, a second later' },
];

export function supportedFormats() {
  return self.MediaRecorder ? FORMATS.filter(({ mime }) => MediaRecorder.isTypeSupported(mime)) : [];
}

/** One run of a MediaRecorder, from its header to its last chunk. */
class Recording {
  #recorder;
  #stopped;

  constructor(stream, options, onChunk, onFail) {
    this.#recorder = new MediaRecorder(stream, options);
    this.#recorder.ondataavailable = ({ data }) => data.size > 0 && onChunk(data);
    this.#recorder.onerror = ({ error }) => onFail(error?.message ?? 'unknown reason');
    this.#stopped = new Promise((resolve) => {
      this.#recorder.onstop = resolve;
    });
    this.#recorder.start(CHUNK_MS);
  }

  /** Resolves when the last chunk was handed over. */
  finish() {
    if (this.#recorder.state !== 'inactive') this.#recorder.stop();
    return this.#stopped;
  }

  /** Ends without another chunk. */
  discard() {
    this.#recorder.ondataavailable = null;
    this.finish();
  }
}

/** @typedef {'connecting' | 'live' | 'retrying' | 'stopped'} Phase */

export class Publisher {
  #stream;
  #mime;
  #bitsPerSecond;
  #onState;
  #link;
  #recording = null;
  #phase = 'connecting';
  #close = null;
  #retryAt = null;
  #stopping = false;
  #began = performance.now();
  #rate = new RateMeter();
  #timer;

  /** @param {{url: string, stream: MediaStream, mime: string, bitsPerSecond: number, onState: (state: object) => void}} options */
  constructor({ url, stream, mime, bitsPerSecond, onState }) {
    this.#stream = stream;
    this.#mime = mime;
    this.#bitsPerSecond = bitsPerSecond;
    this.#onState = onState;
    for (const track of stream.getTracks()) track.addEventListener('ended', () => this.stop());
    this.#timer = setInterval(() => this.#report(), REPORT_EVERY_MS);
    this.#link = new Link(url, {
      onConnecting: () => this.#enter('connecting'),
      onOpen: () => this.#record(),
      onClosed: (close, retryMs) => this.#closed(close, retryMs),
    });
  }

  /** Ends the publication in order: what was recorded goes out, then the connection closes. */
  async stop() {
    if (this.#stopping || this.#phase === 'stopped') return;
    this.#stopping = true;
    const recording = this.#recording;
    this.#recording = null;
    this.#close = null;
    await recording?.finish();
    this.#link.close();
    this.#halt();
  }

  #record() {
    try {
      this.#recording = new Recording(
        this.#stream,
        {
          mimeType: this.#mime,
          videoBitsPerSecond: this.#bitsPerSecond,
          audioBitsPerSecond: AUDIO_BITS_PER_SECOND,
          videoKeyFrameIntervalDuration: KEY_FRAME_EVERY_MS,
        },
        (chunk) => this.#send(chunk),
        (reason) => this.#giveUp(`The recorder failed: ${reason}`),
      );
      this.#enter('live');
    } catch (error) {
      this.#giveUp(`The recorder refused this source: ${error.message}`);
    }
  }

  #send(chunk) {
    const backlogMax = Math.max(BACKLOG_BYTES_MIN, (this.#bitsPerSecond / 8) * (BACKLOG_MS_MAX / 1000));
    if (this.#link.bufferedAmount > backlogMax) {
      this.#slowDown();
      return;
    }
    this.#link.send(chunk);
    this.#rate.add(chunk.size, performance.now());
  }

  /** The uplink carries less than is recorded. A hole would break every decoder, so a new, smaller recording begins. */
  #slowDown() {
    this.#bitsPerSecond = Math.round(this.#bitsPerSecond * SLOWER);
    this.#recording?.discard();
    this.#recording = null;
    if (this.#bitsPerSecond < BITS_PER_SECOND_MIN) this.#giveUp('The connection is too slow to publish, even at the lowest bitrate');
    else this.#link.renew('The connection is too slow for this bitrate; going on with less', 4499);
  }

  #closed(close, retryMs) {
    this.#recording?.discard();
    this.#recording = null;
    this.#close = close;
    this.#retryAt = retryMs === null ? null : performance.now() + retryMs;
    if (retryMs === null) this.#halt();
    else this.#enter('retrying');
  }

  #giveUp(words) {
    this.#recording?.discard();
    this.#recording = null;
    this.#link.close();
    this.#close = { next: 'stop', hintMs: 0, code: null, words };
    this.#halt();
  }

  #halt() {
    clearInterval(this.#timer);
    this.#stream.getTracks().forEach((track) => track.stop());
    this.#enter('stopped');
  }

  #enter(phase) {
    this.#phase = phase;
    this.#report();
  }

  #report() {
    const now = performance.now();
    this.#onState({
      phase: this.#phase,
      close: this.#close,
      elapsedMs: now - this.#began,
      bitrate: this.#rate.bitsPerSecond(now),
      backlogBytes: this.#link?.bufferedAmount ?? 0,
      reconnects: this.#link?.reconnects ?? 0,
      retryInMs: this.#phase === 'retrying' ? Math.max(0, this.#retryAt - now) : null,
    });
  }
}
