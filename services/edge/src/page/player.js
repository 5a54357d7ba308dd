// Plays one channel, and keeps playing it.
//
// Owns the link to the node and the stage the current publication plays on. `onState` hears a snapshot at every change and a
// few times a second; nothing else leaves. Needs one <video>, and one <canvas> right behind it: the canvas shows pictures
// that are not video (MJPEG), and the last frame of a publication until the next one begins.

import { whyUnplayable } from './codecs.js';
import { JpegStage } from './jpeg-stage.js';
import { Link } from './link.js';
import { NetworkDelay, RateMeter } from './meters.js';
import { MseStage, isSupported } from './mse-stage.js';

const REPORT_EVERY_MS = 250;

/**
 * @typedef {'connecting' | 'waiting' | 'buffering' | 'playing' | 'held' | 'ended' | 'retrying' | 'stopped'} Phase
 *   `waiting`: for a publisher; `ended`: waiting for the publisher to return; `held`: the publisher vanished and may come
 *   back; `stopped`: nothing more will happen.
 */

export class Player {
  #video;
  #canvas;
  #onState;
  #link;
  #stage = null;
  #timer;
  #phase = 'connecting';
  #start = null;
  #close = null;
  #retryAt = null;
  #heldUntil = null;
  #receivers = null;
  #blocked = false;
  #rate = new RateMeter();
  #delay = new NetworkDelay();

  /**
   * @param {HTMLVideoElement} video
   * @param {HTMLCanvasElement} canvas
   * @param {{url: string, onState: (state: object) => void}} options
   */
  constructor(video, canvas, { url, onState }) {
    this.#video = video;
    this.#canvas = canvas;
    this.#onState = onState;
    this.#link = new Link(url, {
      onConnecting: () => this.#enter('connecting'),
      onOpen: (handshakeMs) => {
        this.#delay.opened(handshakeMs);
        this.#enter('waiting');
      },
      onNotice: (notice) => this.#noticed(notice),
      onChunk: (chunk) => {
        this.#rate.add(chunk.byteLength, performance.now());
        this.#stage?.push(chunk);
      },
      onClosed: (close, retryMs) => this.#closed(close, retryMs),
    });
    this.#timer = setInterval(() => this.#report(), REPORT_EVERY_MS);
  }

  /** Tries again to play, now that somebody pressed something: browsers may refuse before that. */
  resume() {
    this.#video.play().then(() => this.#unblock(false), (error) => this.#unblock(error.name === 'NotAllowedError'));
  }

  /** Ends the player; the elements are free for another one. */
  stop() {
    this.#link.close();
    this.#halt();
  }

  #noticed(notice) {
    if (typeof notice.server_time_ms === 'number') this.#delay.observe(notice.server_time_ms, Date.now());
    switch (notice.type) {
      case 'start':
        this.#start = notice;
        this.#begin();
        break;
      case 'skip':
        if (this.#start) this.#begin();
        break;
      case 'held':
        this.#heldUntil = performance.now() + notice.grace_ms;
        if (this.#stage) this.#stage.flowing = false;
        this.#enter('held');
        break;
      case 'stats':
        this.#receivers = notice.receivers;
        break;
    }
  }

  /** A new init follows: whatever played so far is over. */
  #begin() {
    this.#leaveStage();
    const { container, mime } = this.#start;
    const reason = container === 'mjpeg' ? null : whyUnplayable(this.#start, isSupported);
    if (reason) {
      this.#giveUp(reason);
      return;
    }
    if (container === 'mjpeg') {
      this.#stage = new JpegStage(this.#canvas);
    } else {
      this.#stage = new MseStage(this.#video, mime, { onFail: (words) => this.#link.renew(words) });
      this.resume();
    }
    this.#enter('buffering');
  }

  #closed(close, retryMs) {
    this.#close = close;
    this.#retryAt = retryMs === null ? null : performance.now() + retryMs;
    if (this.#stage) this.#stage.flowing = false;
    if (retryMs === null) this.#halt();
    else this.#enter(close.next === 'wait' ? 'ended' : 'retrying');
  }

  #giveUp(words) {
    this.#link.close();
    this.#close = { next: 'stop', hintMs: 0, code: null, words };
    this.#halt();
  }

  #halt() {
    clearInterval(this.#timer);
    this.#leaveStage();
    this.#enter('stopped');
  }

  #leaveStage() {
    if (this.#stage instanceof MseStage) this.#keepLastFrame();
    this.#stage?.end();
    this.#stage = null;
  }

  #keepLastFrame() {
    const { videoWidth, videoHeight } = this.#video;
    if (!videoWidth || this.#video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    this.#canvas.width = videoWidth;
    this.#canvas.height = videoHeight;
    this.#canvas.getContext('2d', { alpha: false }).drawImage(this.#video, 0, 0);
  }

  #unblock(blocked) {
    this.#blocked = blocked;
    this.#report();
  }

  #enter(phase) {
    this.#phase = phase;
    this.#report();
  }

  #report() {
    const figures = this.#stage?.figures ?? null;
    if (figures && (this.#phase === 'buffering' || this.#phase === 'playing')) {
      this.#phase = figures.starved ? 'buffering' : 'playing';
    }
    // Behind a playing picture of another shape the last frame would show at its sides.
    this.#canvas.hidden = this.#phase === 'playing' && this.#stage instanceof MseStage;
    const now = performance.now();
    this.#onState({
      phase: this.#phase,
      blocked: this.#blocked,
      start: this.#start,
      figures,
      latency: figures && { buffer: figures.buffered, network: this.#delay.ms === null ? null : this.#delay.ms / 1000 },
      bitrate: this.#rate.bitsPerSecond(now),
      receivers: this.#receivers,
      reconnects: this.#link?.reconnects ?? 0,
      close: this.#close,
      retryInMs: this.#phase === 'retrying' || this.#phase === 'ended' ? Math.max(0, this.#retryAt - now) : null,
      heldForMs: this.#phase === 'held' ? Math.max(0, this.#heldUntil - now) : null,
    });
  }
}
