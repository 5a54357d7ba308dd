// Plays one init and what follows it through Media Source Extensions.
//
// Owns the MediaSource, the queue in front of it and the playhead. A new init gets a new stage: timelines of two publications
// are never mixed in one buffer.

import { BufferPolicy } from './buffer-policy.js';

// `ManagedMediaSource` is all that an iPhone has.
const Source = self.MediaSource ?? self.ManagedMediaSource;

// Media that waits for the decoder this long is worth less than the live edge.
const QUEUE_BYTES_MAX = 16 * 1024 * 1024;
// One append costs a task; a burst of small chunks goes in together.
const APPEND_BYTES_MAX = 1024 * 1024;
const LOOK_EVERY_MS = 250;
// What a full buffer still needs around the playhead, in seconds.
const QUOTA_KEPT = 1;

export const isSupported = (mime) => Boolean(Source?.isTypeSupported(mime));

const seconds = () => performance.now() / 1000;

export class MseStage {
  #video;
  #onFail;
  #source = new Source();
  #buffer = null;
  #policy = new BufferPolicy();
  #queue = [];
  #queuedBytes = 0;
  #removeBefore = null;
  #quotaHit = false;
  #flowing = true;
  #timer;
  #abort = new AbortController();

  /**
   * @param {HTMLVideoElement} video
   * @param {string} mime
   * @param {{onFail: (words: string) => void}} events `onFail`: this stage is of no more use
   */
  constructor(video, mime, { onFail }) {
    this.#video = video;
    this.#onFail = onFail;
    const { signal } = this.#abort;
    const address = URL.createObjectURL(this.#source);
    this.#source.addEventListener('sourceopen', () => {
      URL.revokeObjectURL(address);
      this.#buffer = this.#source.addSourceBuffer(mime);
      this.#buffer.addEventListener('updateend', () => this.#updated(), { signal });
      this.#pump();
    }, { signal, once: true });
    video.addEventListener('error', () => this.#fail(`The decoder gave up: ${video.error?.message || 'unknown reason'}`), { signal });
    document.addEventListener('visibilitychange', () => this.#look(), { signal });
    video.disableRemotePlayback = true; // what ManagedMediaSource asks for
    video.src = address;
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  /** Whether more media is to be expected; when not, what is buffered plays to its end. */
  set flowing(flowing) {
    this.#flowing = flowing;
    this.#look();
  }

  push(chunk) {
    this.#queue.push(new Uint8Array(chunk));
    this.#queuedBytes += chunk.byteLength;
    if (this.#queuedBytes > QUEUE_BYTES_MAX) this.#fail('The browser decodes slower than the stream arrives');
    else this.#pump();
  }

  get figures() {
    const { video, ranges } = { video: this.#video, ranges: this.#ranges() };
    const quality = video.getVideoPlaybackQuality?.();
    return {
      width: video.videoWidth,
      height: video.videoHeight,
      buffered: ranges.length > 0 ? Math.max(0, ranges.at(-1)[1] - video.currentTime) : 0,
      target: this.#policy.target,
      starved: video.readyState < HTMLMediaElement.HAVE_FUTURE_DATA || video.playbackRate === 0,
      framesShown: quality ? quality.totalVideoFrames - quality.droppedVideoFrames : 0,
      framesDropped: quality?.droppedVideoFrames ?? 0,
    };
  }

  end() {
    this.#abort.abort();
    clearInterval(this.#timer);
    this.#queue = [];
    this.#video.removeAttribute('src');
    this.#video.load();
  }

  #updated() {
    this.#quotaHit = false;
    this.#look();
    this.#pump();
  }

  /** The buffer does one thing at a time; removing goes first because it makes room. */
  #pump() {
    if (!this.#buffer || this.#buffer.updating || this.#source.readyState !== 'open' || this.#video.error) return;
    if (this.#removeBefore !== null) {
      const end = this.#removeBefore;
      this.#removeBefore = null;
      this.#buffer.remove(0, end);
    } else if (this.#queue.length > 0) {
      this.#append();
    }
  }

  #append() {
    const bytes = this.#takeBatch();
    try {
      this.#buffer.appendBuffer(bytes);
      this.#policy.arrived(seconds());
    } catch (error) {
      this.#queue.unshift(bytes);
      this.#queuedBytes += bytes.length;
      if (error.name === 'QuotaExceededError') this.#makeRoom();
      else this.#fail(`The buffer refused the stream: ${error.message}`);
    }
  }

  #takeBatch() {
    let count = 1;
    let size = this.#queue[0].length;
    while (count < this.#queue.length && size + this.#queue[count].length <= APPEND_BYTES_MAX) {
      size += this.#queue[count].length;
      count += 1;
    }
    const chunks = this.#queue.splice(0, count);
    this.#queuedBytes -= size;
    if (count === 1) return chunks[0];
    const batch = new Uint8Array(size);
    let at = 0;
    for (const chunk of chunks) {
      batch.set(chunk, at);
      at += chunk.length;
    }
    return batch;
  }

  /** A full buffer gives up its past first, then its distance to live; a second refusal means neither was enough. */
  #makeRoom() {
    const ranges = this.#ranges();
    if (this.#quotaHit || ranges.length === 0) {
      this.#fail('The browser has no room for this stream');
      return;
    }
    this.#quotaHit = true;
    if (this.#video.currentTime - ranges[0][0] <= QUOTA_KEPT) this.#video.currentTime = ranges.at(-1)[1] - this.#policy.target;
    const end = this.#video.currentTime - QUOTA_KEPT;
    if (end > ranges[0][0]) this.#buffer.remove(0, end);
    else this.#fail('The browser has no room for this stream');
  }

  #look() {
    const video = this.#video;
    if (video.error) return;
    // A seek to where nothing is would last for ever.
    const ranges = this.#ranges();
    if (video.seeking && ranges.some(([start, end]) => video.currentTime >= start && video.currentTime < end)) return;
    const { seekTo, rate, removeBefore } = this.#policy.look({
      now: seconds(),
      position: video.currentTime,
      ranges,
      starved: video.readyState < HTMLMediaElement.HAVE_FUTURE_DATA,
      watched: !video.paused && (!document.hidden || document.pictureInPictureElement === video),
      flowing: this.#flowing,
    });
    if (seekTo !== null) video.currentTime = seekTo;
    if (video.playbackRate !== rate) video.playbackRate = rate;
    if (removeBefore !== null) {
      this.#removeBefore = removeBefore;
      this.#pump();
    }
  }

  #ranges() {
    const { buffered } = this.#video;
    return Array.from({ length: buffered.length }, (_, i) => [buffered.start(i), buffered.end(i)]);
  }

  #fail(words) {
    if (!this.#abort.signal.aborted) this.#onFail(words);
  }
}
