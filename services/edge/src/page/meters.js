// Small measurements over time. Pure: the caller hands in the clock.

const WINDOW_MS = 1000;

/** Bits per second over the last second. */
export class RateMeter {
  #samples = [];

  add(bytes, nowMs) {
    this.#samples.push({ bytes, nowMs });
    this.#forget(nowMs);
  }

  bitsPerSecond(nowMs) {
    this.#forget(nowMs);
    const bytes = this.#samples.reduce((sum, sample) => sum + sample.bytes, 0);
    return (bytes * 8 * 1000) / WINDOW_MS;
  }

  #forget(nowMs) {
    const fresh = this.#samples.findIndex((sample) => sample.nowMs > nowMs - WINDOW_MS);
    this.#samples.splice(0, fresh < 0 ? this.#samples.length : fresh);
  }
}

// A connection costs at least two round trips before it is open, so one way is at most a quarter of that.
const ONE_WAYS_IN_HANDSHAKE = 4;

/**
 * How long messages are under way, without trusting that two clocks agree.
 *
 * The smallest difference between our clock and the node's is their offset plus an undisturbed trip; what a later message
 * shows above it, it spent queueing. The undisturbed trip itself is bounded by how fast the connection opened.
 */
export class NetworkDelay {
  #smallest = Infinity;
  #latest = null;
  #oneWayMs = Infinity;

  opened(handshakeMs) {
    this.#oneWayMs = Math.min(this.#oneWayMs, handshakeMs / ONE_WAYS_IN_HANDSHAKE);
    // Another node may have another clock.
    this.#smallest = Infinity;
    this.#latest = null;
  }

  observe(serverTimeMs, nowMs) {
    this.#latest = nowMs - serverTimeMs;
    this.#smallest = Math.min(this.#smallest, this.#latest);
  }

  /** Milliseconds from the node to here, or null before the node told its time. */
  get ms() {
    return this.#latest === null ? null : this.#latest - this.#smallest + this.#oneWayMs;
  }
}
