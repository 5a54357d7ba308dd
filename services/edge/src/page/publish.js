// The publish side of the page: the form, the preview and its figures.

import { isChannelName, streamUrl } from './address.js';
import { byId, revealable, setText } from './dom.js';
import { bitrateText, elapsedText } from './format.js';
import { rememberKey } from './keys.js';
import { Publisher, supportedFormats } from './publisher.js';

const PHASES = {
  connecting: 'Connecting',
  live: 'On air',
  retrying: 'Reconnecting',
  stopped: 'Off air',
};

const REFUSALS = {
  NotAllowedError: 'The browser was not allowed to use it. Allow it in the address bar, then try again.',
  NotFoundError: 'This device has no such source.',
  NotReadableError: 'Another program uses it already.',
  OverconstrainedError: 'This source cannot deliver that picture size.',
};

export class Publish {
  #publisher = null;
  #phase = 'stopped';
  #onAir;
  #form = byId('publish-form');
  #preview = byId('preview');

  /** @param {{onAir: (live: boolean) => void}} events */
  constructor({ onAir }) {
    this.#onAir = onAir;
    revealable(byId('publish-key'), byId('publish-key-show'));
    byId('publish-stop').addEventListener('click', () => this.#publisher?.stop());
    const formats = supportedFormats();
    byId('publish-format').replaceChildren(...formats.map(({ mime, label }) => new Option(label, mime)));
    byId('source-screen').hidden = !navigator.mediaDevices?.getDisplayMedia;
    const obstacle = whyImpossible(formats);
    byId('publish-obstacle').hidden = obstacle === null;
    setText(byId('publish-obstacle'), obstacle ?? '');
    byId('publish-fields').disabled = obstacle !== null;
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#start();
    });
  }

  async #start() {
    const channel = byId('publish-channel').value;
    const key = byId('publish-key').value;
    if (!isChannelName(channel) || key === '') return;
    byId('publish-fields').disabled = true;
    const stream = await this.#capture();
    if (!stream) {
      byId('publish-fields').disabled = false;
      return;
    }
    rememberKey(channel, key);
    this.#preview.srcObject = stream;
    const video = stream.getVideoTracks()[0].getSettings();
    setText(byId('publish-picture'), video.width ? `${video.width} × ${video.height}` : '–');
    this.#publisher = new Publisher({
      url: streamUrl(document.baseURI, channel, key, 'publish'),
      stream,
      mime: byId('publish-format').value,
      bitsPerSecond: Number(byId('publish-bitrate').value),
      onState: (state) => this.#show(state),
    });
    byId('publish-stop').focus();
  }

  async #capture() {
    const [width, height] = byId('publish-size').value.split('x').map(Number);
    const video = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30 } };
    const audio = byId('publish-sound').checked;
    const screen = byId('publish-source').value === 'screen';
    const { mediaDevices } = navigator;
    try {
      return await (screen ? mediaDevices.getDisplayMedia({ video, audio }) : mediaDevices.getUserMedia({ video, audio }));
    } catch (error) {
      setText(byId('publish-words'), REFUSALS[error.name] ?? error.message);
      return null;
    }
  }

  #show({ phase, close, elapsedMs, bitrate, backlogBytes, reconnects, retryInMs }) {
    const words = phase === 'retrying' ? `${close.words}. Next try in ${Math.ceil(retryInMs / 1000)} s.` : close && phase === 'stopped' ? `${close.words}.` : '';
    setText(byId('publish-state'), PHASES[phase]);
    setText(byId('publish-words'), words);
    setText(byId('publish-elapsed'), elapsedText(elapsedMs));
    setText(byId('publish-rate'), bitrateText(bitrate));
    setText(byId('publish-backlog'), `${Math.round(backlogBytes / 1024)} KiB`);
    setText(byId('publish-reconnects'), String(reconnects));
    if (phase === this.#phase) return;
    this.#phase = phase;
    byId('studio').dataset.phase = phase;
    setText(byId('announce'), [PHASES[phase], words].filter(Boolean).join('. '));
    this.#onAir(phase === 'live');
    const stopped = phase === 'stopped';
    byId('publish-fields').disabled = !stopped;
    byId('publish-stop').disabled = stopped;
    if (!stopped) return;
    this.#preview.srcObject = null;
    this.#publisher = null;
    byId('publish-start').focus();
  }
}

/** Why nothing can be published from here, or null. */
function whyImpossible(formats) {
  if (!isSecureContext) {
    return `Browsers hand out the camera and the screen only to pages from https:// or from this very machine, and this page came from ${location.origin}. Open it over https, or publish with another program.`;
  }
  if (!navigator.mediaDevices) return 'This browser has no access to cameras.';
  return formats.length === 0 ? 'This browser cannot record in any format that can be streamed.' : null;
}
