// The page: its two panels, the list of channels, and what they tell each other.

import { ChannelList, ChannelPoll } from './channels.js';
import { byId, setText } from './dom.js';
import { countText } from './format.js';
import { Publish } from './publish.js';
import { Watch } from './watch.js';

const tabs = [byId('tab-watch'), byId('tab-publish')];

function select(tab) {
  for (const other of tabs) {
    const selected = other === tab;
    other.setAttribute('aria-selected', String(selected));
    other.tabIndex = selected ? 0 : -1;
    byId(other.getAttribute('aria-controls')).hidden = !selected;
  }
}

for (const [i, tab] of tabs.entries()) {
  const other = tabs[1 - i];
  tab.addEventListener('click', () => select(tab));
  tab.addEventListener('keydown', (event) => {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
    select(other);
    other.focus();
  });
}

let watched = null;
const list = new ChannelList(byId('channels'), byId('channel-template'), (name) => watch.pick(name));

const watch = new Watch({
  onChannel: (name) => {
    watched = name;
    list.mark(watched);
  },
  onNode: (node) => {
    byId('node-line').hidden = false;
    setText(byId('node'), node);
  },
});

new Publish({
  onAir: (live) => {
    byId('on-air').hidden = !live;
  },
});

new ChannelPoll(new URL('v1/channels', document.baseURI).href, {
  onChannels: (channels) => {
    list.show(channels);
    list.mark(watched);
    const live = channels.filter((channel) => channel.state === 'live').length;
    setText(byId('channels-count'), live > 0 ? countText(live, 'channel live', 'channels live') : 'None live');
    setText(byId('channels-trouble'), '');
    byId('how-to').hidden = channels.length > 0;
  },
  onTrouble: (words) => setText(byId('channels-trouble'), words),
});

// A command that can be copied as it stands, with this node's address in it.
const base = document.baseURI.replace(/^http/, 'ws').replace(/[#?].*$/, '');
setText(byId('how-to-command'), `ffmpeg -re -i FILE -c:v libx264 -preset veryfast -tune zerolatency \\
  -g 30 -c:a aac -f flv - | relaycast publish ${base}cam1/KEY`);
