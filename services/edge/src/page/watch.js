// The watch side of the page: the form, the screen and its figures.

import { eventsUrl, isChannelName, streamUrl, watchRequest } from './address.js';
import { Beside } from './beside.js';
import { codecName, packingText } from './codecs.js';
import { byId, revealable, setText } from './dom.js';
import { bitrateText, countText, secondsText } from './format.js';
import { rememberKey, rememberedKey } from './keys.js';
import { Player } from './player.js';
import { sourceTitle, sourceWords } from './source-words.js';
import { Sparkline } from './sparkline.js';
import { Telemetry } from './telemetry.js';

const PHASES = {
  idle: 'Nothing playing',
  connecting: 'Connecting',
  buffering: 'Buffering',
  playing: 'Live',
  held: 'Publisher lost',
  ended: 'Ended',
  retrying: 'Reconnecting',
  stopped: 'Stopped',
};

export class Watch {
  #player = null;
  #state = null;
  #source = null;
  #phase = 'idle';
  #onChannel;
  #onNode;
  #form = byId('watch-form');
  #channel = byId('watch-channel');
  #key = byId('watch-key');
  #screen = byId('screen');
  #video = byId('video');
  #sparkline = new Sparkline(byId('latency-line'));
  #telemetry = new Telemetry();
  #beside = new Beside({
    onSource: (source) => this.#showSource(source),
    onTelemetry: (telemetry) => this.#telemetry.show(telemetry),
    onReset: () => {
      this.#source = null;
      this.#telemetry.clear();
    },
  });

  /** @param {{onChannel: (name: string | null) => void, onNode: (node: string) => void}} events */
  constructor({ onChannel, onNode }) {
    this.#onChannel = onChannel;
    this.#onNode = onNode;
    revealable(this.#key, byId('watch-key-show'));
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#play(this.#channel.value, this.#key.value);
    });
    this.#channel.addEventListener('change', () => {
      const known = rememberedKey(this.#channel.value);
      if (known) this.#key.value = known;
    });
    byId('stop').addEventListener('click', () => this.#stop());
    byId('mute').addEventListener('click', () => {
      this.#video.muted = !this.#video.muted;
    });
    byId('fullscreen').addEventListener('click', () => this.#toggleFullscreen());
    byId('fullscreen').hidden = !this.#screen.requestFullscreen && !this.#video.webkitEnterFullscreen;
    byId('resume').addEventListener('click', () => this.#player?.resume());
    this.#video.addEventListener('volumechange', () => this.#showSound());
    this.#video.addEventListener('play', () => this.#showPaused());
    this.#video.addEventListener('pause', () => this.#showPaused());
    addEventListener('hashchange', () => this.#followFragment());
    this.#showSound();
    this.#followFragment();
  }

  /** Puts a channel into the form; plays at once when its key is known in this tab. */
  pick(name) {
    this.#channel.value = name;
    this.#key.value = rememberedKey(name);
    if (this.#key.value) this.#form.requestSubmit();
    else this.#key.focus();
  }

  #followFragment() {
    const wanted = watchRequest(location.hash);
    if (!wanted) return;
    this.#channel.value = wanted.channel;
    this.#key.value = wanted.key ?? rememberedKey(wanted.channel);
    if (this.#key.value) this.#play(wanted.channel, this.#key.value);
  }

  #play(channel, key) {
    if (!isChannelName(channel) || key === '') return;
    this.#player?.stop();
    this.#sparkline.clear();
    rememberKey(channel, key);
    // The address can be shared and reloaded; the key stays out of it.
    history.replaceState(null, '', `#watch=${channel}`);
    this.#onChannel(channel);
    setText(byId('screen-channel'), channel);
    const url = streamUrl(document.baseURI, channel, key, 'receive', { as: 'fmp4', notices: '1' });
    this.#beside.follow(eventsUrl(document.baseURI, channel, key));
    this.#player = new Player(this.#video, byId('still'), { url, onState: (state) => this.#show(state) });
  }

  #stop() {
    this.#beside.stop();
    this.#player?.stop();
    this.#player = null;
    this.#onChannel(null);
    byId('watch-channel').focus();
  }

  #toggleFullscreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else if (this.#screen.requestFullscreen) this.#screen.requestFullscreen();
    else this.#video.webkitEnterFullscreen(); // an iPhone has no other
  }

  #showSound() {
    const button = byId('mute');
    setText(button, this.#video.muted ? 'Unmute' : 'Mute');
  }

  #showPaused() {
    byId('resume').hidden = !(this.#video.paused && this.#video.hasAttribute('src') && this.#player);
  }

  #show(state) {
    const { phase, start, figures, latency, close } = state;
    this.#state = state;
    const words = explanation(state, this.#source);
    if (phase !== this.#phase) this.#enter(phase, words);
    setText(byId('screen-state'), this.#title());
    setText(byId('screen-words'), words);
    byId('screen').dataset.pictures = String(Boolean(figures?.framesShown));
    byId('screen').dataset.blocked = String(state.blocked);
    this.#showPaused();
    if (start) this.#onNode(start.node);

    const total = latency && latency.buffer + (latency.network ?? 0);
    const shown = total !== null && (phase === 'playing' || phase === 'buffering');
    if (shown) this.#sparkline.add(total, performance.now());
    figure('latency', shown ? secondsText(total) : null, shown && latency.network !== null
      ? `buffer ${latency.buffer.toFixed(2)} + network ${latency.network.toFixed(2)}` : '');
    setText(byId('screen-latency'), shown ? secondsText(total) : '');
    figure('bitrate', figures ? bitrateText(state.bitrate) : null);
    const video = start?.tracks?.find((track) => track.kind === 'video');
    const audio = start?.tracks?.find((track) => track.kind === 'audio');
    figure('picture', figures?.width ? `${figures.width} × ${figures.height}` : null,
      start && packingText(video?.codec, start.container));
    figure('sound', audio?.codec ? codecName(audio.codec) : start ? 'None' : null, audio ? soundDetail(audio) : '');
    figure('buffer', figures ? secondsText(figures.buffered) : null, figures?.target ? `aims at ${secondsText(figures.target)}` : '');
    figure('dropped', figures ? String(figures.framesDropped) : null, figures ? `of ${figures.framesShown + figures.framesDropped} frames` : '');
    figure('reconnects', String(state.reconnects), start ? `epoch ${start.epoch}` : '');
    figure('viewers', state.receivers === null ? null : String(state.receivers), state.receivers === null ? '' : 'on this node');
    setText(byId('last-close'), close ? closeText(close) : 'None');
  }

  #showSource(source) {
    const before = sourceWords(this.#source);
    this.#source = source;
    const words = sourceWords(source);
    if (words === before || !this.#state) return;
    this.#show(this.#state);
    if (this.#phase === 'waiting' && words) setText(byId('announce'), words);
  }

  #enter(phase, words) {
    this.#phase = phase;
    // The node does not let in who has stopped for a wrong key.
    if (phase === 'stopped') this.#beside.stop();
    this.#screen.dataset.phase = phase;
    byId('stop').disabled = phase === 'stopped';
    // What only lasts a moment is not worth interrupting anybody for, and neither is each second of a countdown.
    if (phase !== 'connecting' && phase !== 'buffering') setText(byId('announce'), [this.#title(), words].filter(Boolean).join('. '));
  }

  #title() {
    const { phase } = this.#state;
    return phase === 'waiting' ? sourceTitle(this.#source) : PHASES[phase];
  }
}

function figure(name, value, detail = '') {
  setText(byId(`figure-${name}`), value ?? '–');
  setText(byId(`figure-${name}-detail`), detail || '');
}

function soundDetail({ sample_rate: sampleRate, channels }) {
  const parts = [sampleRate && `${sampleRate / 1000} kHz`, channels && countText(channels, 'channel')];
  return parts.filter(Boolean).join(', ');
}

function closeText({ words, code }) {
  return code === null ? words : `${words} (code ${code})`;
}

function explanation({ phase, close, retryInMs, heldForMs, blocked }, source) {
  switch (phase) {
    case 'waiting':
      return sourceWords(source) || 'The picture starts as soon as somebody publishes.';
    case 'held':
      return `It may come back within ${Math.ceil(heldForMs / 1000)} s.`;
    case 'ended':
      return ['The publisher ended the stream. This page plays on when it returns.', sourceWords(source)].filter(Boolean).join(' ');
    case 'retrying':
      return `${close.words}. Next try in ${Math.ceil(retryInMs / 1000)} s.`;
    case 'stopped':
      return close ? `${close.words}.` : '';
    default:
      return blocked ? 'The browser waits for a press before it plays.' : '';
  }
}
