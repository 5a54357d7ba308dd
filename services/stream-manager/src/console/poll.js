// Asks again and again, never while hidden, never twice at once.

const EVERY_MS = 2000;

/** Events come in bursts; they hurry the next question, and do not multiply questions. */
const APART_MS = 500;

export class Poll {
  #ask;
  #every;
  #timer = null;
  #controller = null;
  #isOn = false;
  #isAsking = false;
  #isDue = false;
  #lastMs = -Infinity;

  /** @param {(signal: AbortSignal) => Promise<void>} ask tells of its failures itself */
  constructor(ask, everyMs = EVERY_MS) {
    this.#ask = ask;
    this.#every = everyMs;
    document.addEventListener('visibilitychange', () => !document.hidden && this.soon());
  }

  /** From now on, and now: what was being asked is not wanted any more. */
  restart() {
    this.stop();
    this.#isOn = true;
    this.#run();
  }

  stop() {
    this.#isOn = false;
    this.#isAsking = false;
    this.#isDue = false;
    clearTimeout(this.#timer);
    this.#controller?.abort();
  }

  /** What was told is old: asks again without waiting for its turn. */
  soon() {
    if (!this.#isOn) return;
    if (this.#isAsking) {
      this.#isDue = true;
      return;
    }
    this.#wait(Math.max(0, this.#lastMs + APART_MS - performance.now()));
  }

  #wait(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), ms);
  }

  async #run() {
    clearTimeout(this.#timer);
    if (!this.#isOn || this.#isAsking || document.hidden) return;
    const controller = new AbortController();
    this.#controller = controller;
    this.#isAsking = true;
    this.#isDue = false;
    this.#lastMs = performance.now();
    await this.#ask(controller.signal);
    if (this.#controller !== controller || controller.signal.aborted) return;
    this.#isAsking = false;
    this.#wait(this.#isDue ? APART_MS : this.#every);
  }
}
