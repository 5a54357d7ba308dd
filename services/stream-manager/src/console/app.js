// The console: which view is shown, what is asked for it, and what that tells of the stream-manager itself.

import { Access } from './access.js';
import { Refused } from './api.js';
import { ChannelPage } from './channel.js';
import { ChannelList } from './channels.js';
import { Confirm } from './confirm.js';
import { byId, setText } from './dom.js';
import { EventList } from './events.js';
import { agoText } from './format.js';
import { Live } from './live.js';
import { NodePage } from './node.js';
import { NodeList } from './nodes.js';
import { Poll } from './poll.js';
import { listOf, routeOf } from './routes.js';
import { SourceList } from './sources.js';
import { Totals } from './totals.js';
import { concerns, freshness } from './words.js';

/** Sessions are asked of the nodes, each time anew. */
const SESSIONS_EVERY_MS = 5000;

const TICK_MS = 1000;

const TITLES = { nodes: 'Nodes', channels: 'Channels', sources: 'Sources', events: 'Events' };

let route = null;

/** How it is with the stream-manager, as the last answer to the question for nodes told. */
const reach = { view: null, isReached: true, isAllowed: true, answeredMs: null };

const access = new Access(document.baseURI, ({ isFirst }) => {
  onDone();
  if (!isFirst) live.restart();
});
const { api } = access;
const confirm = new Confirm(access);
const totals = new Totals();
const events = new EventList();

const onDone = () => {
  overview.soon();
  detail.soon();
  sessions.soon();
};
const nodeList = new NodeList(access, confirm, { onTurn: () => overview.restart(), onDone });
const channelList = new ChannelList(() => detail.restart());
const sourceList = new SourceList(access, confirm, { onTurn: () => detail.restart(), onDone });
const nodePage = new NodePage(access, confirm, nodeList.histories, { onTurn: () => detail.restart(), onDone });
const channelPage = new ChannelPage(access, confirm, { onTurn: () => sessions.restart(), onDone });

// Totals and nodes, whatever is looked at: their charts have no holes, and the nodes' answer tells how fresh everything is.
const overview = new Poll(async (signal) => {
  const [capacity, nodes] = await Promise.allSettled([
    api.get(['v1', 'capacity'], {}, signal),
    api.get(['v1', 'nodes'], nodeList.query, signal),
  ]);
  if (signal.aborted) return;
  const now = performance.now();
  if (capacity.status === 'fulfilled') totals.show(capacity.value, now);
  if (nodes.status === 'fulfilled') {
    nodeList.show(nodes.value, now);
    Object.assign(reach, { view: nodes.value.view, isReached: true, isAllowed: true, answeredMs: now });
  } else {
    const { status, wantsToken, message } = nodes.reason;
    reach.isReached = status !== 0 && status < 500;
    reach.isAllowed = !wantsToken;
    if (reach.isReached) nodeList.note(message);
    if (wantsToken) wantToken();
  }
  showReach();
});

const VIEWS = {
  channels: (signal) => channelList.refresh(api, signal),
  sources: (signal) => sourceList.refresh(signal),
  node: (signal) => nodePage.refresh(route.name, signal),
  channel: (signal) => channelPage.refresh(route.name, signal),
};

const detail = new Poll(async (signal) => {
  try {
    await VIEWS[route.view]?.(signal);
  } catch (error) {
    // The overview, which asks the same stream-manager, tells what is wrong with it.
    if (!(error instanceof Refused) && !signal.aborted) throw error;
  }
});

const sessions = new Poll(async (signal) => {
  if (route.view === 'channel') await channelPage.refreshSessions(route.name, signal);
}, SESSIONS_EVERY_MS);

const live = new Live(api, {
  onEvent: (event) => {
    events.add(event);
    if (concerns(event) === 'nodes') overview.soon();
    detail.soon();
    if (route.view === 'channel' && event.channel === route.name) sessions.soon();
  },
  onState: (state) => {
    byId('reach-events').dataset.reach = state;
    setText(byId('reach-events').lastElementChild, { up: 'live', down: 'away', refused: 'closed' }[state]);
  },
});

/** Asks once by itself, and then when somebody wants to. */
let hasAsked = false;
function wantToken() {
  if (hasAsked) return;
  hasAsked = true;
  access.learn().then(() => access.may('read') || access.ask());
}

function showReach() {
  const { view, answeredMs } = reach;
  const answerAgeMs = answeredMs === null ? null : performance.now() - answeredMs;
  const { tone, words } = freshness({ ...reach, answerAgeMs });
  byId('status').dataset.tone = tone;
  setText(byId('status-words'), words);
  for (const part of ['registry', 'backbone']) {
    const state = (reach.isReached && view?.[part]) || null;
    byId(`reach-${part}`).dataset.reach = state ?? '';
    setText(byId(`reach-${part}`).lastElementChild, state ?? '–');
  }
  const age = view?.age_ms;
  setText(byId('reach-age').lastElementChild, age === undefined || age === null ? '–' : `${agoText(age + answerAgeMs)} ago`);
}

function go() {
  const before = route;
  route = routeOf(location.hash);
  if (before?.view === 'channel') channelPage.leave();
  document.body.dataset.view = route.view;
  document.title = `${route.name ?? TITLES[route.view]} – Relaycast`;
  for (const link of document.querySelectorAll('[data-list]')) {
    if (link.dataset.list === listOf(route.view)) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (route.view === 'node') nodePage.open(route.name);
  if (route.view === 'channel') channelPage.open(route.name);
  detail.restart();
  sessions.restart();
  if (before === null) return;
  // Whoever followed a link is there, wherever the link was.
  scrollTo(0, 0);
  byId(`${route.view}-title`).focus({ preventScroll: true });
}

byId('skip').addEventListener('click', (event) => {
  // The fragment says what is shown.
  event.preventDefault();
  byId('main').focus();
});
addEventListener('hashchange', go);
setInterval(() => !document.hidden && showReach(), TICK_MS);
go();
access.learn();
overview.restart();
live.restart();
