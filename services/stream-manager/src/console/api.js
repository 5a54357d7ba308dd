// Questions to the stream-manager.

import { apiUrl } from './routes.js';

const DEADLINE_MS = 8000;

/** Why there is no answer. */
export class Refused extends Error {
  /** @param {number} status 0 where nothing answered */
  constructor(status, words, kind = '') {
    super(words);
    this.status = status;
    this.kind = kind;
  }

  /** Whether another token would help. */
  get wantsToken() {
    return this.status === 401 || this.status === 403;
  }
}

export class Api {
  #base;
  #token;

  /**
   * @param {string} base the page's own address
   * @param {() => string | null} token
   */
  constructor(base, token) {
    this.#base = base;
    this.#token = token;
  }

  /** @param {AbortSignal} [signal] for who stops waiting */
  async get(path, query, signal) {
    return (await this.#fetch('GET', path, query, signal)).json();
  }

  async blob(path, signal) {
    return (await this.#fetch('GET', path, {}, signal)).blob();
  }

  /** @param {number} [deadlineMs] for what takes longer than others */
  async post(path, deadlineMs) {
    return (await this.#fetch('POST', path, {}, undefined, { deadlineMs })).json();
  }

  /** An answer that does not end. */
  async stream(path, headers, signal) {
    return this.#fetch('GET', path, {}, signal, { headers, isEndless: true });
  }

  async #fetch(method, path, query, signal, { headers = {}, isEndless = false, deadlineMs = DEADLINE_MS } = {}) {
    const token = this.#token();
    const signals = [signal, isEndless ? null : AbortSignal.timeout(deadlineMs)].filter(Boolean);
    let answer;
    try {
      answer = await fetch(apiUrl(this.#base, path, query), {
        method,
        headers: token ? { ...headers, Authorization: `Bearer ${token}` } : headers,
        cache: 'no-store',
        credentials: 'omit',
        redirect: 'error',
        signal: AbortSignal.any(signals),
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Refused(0, 'The stream-manager does not answer.');
    }
    if (!answer.ok) throw await refusal(answer);
    return answer;
  }
}

async function refusal(answer) {
  const problem = await answer.json().catch(() => null);
  const words = [problem?.title, problem?.detail].filter((part) => typeof part === 'string' && part !== '').join(': ');
  return new Refused(answer.status, words || `The stream-manager answered ${answer.status}.`, String(problem?.type ?? ''));
}
