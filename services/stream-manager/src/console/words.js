// What the cluster says, in words. Pure.

import { containerName, tracksText } from './codecs.js';
import { agoText, numberText } from './format.js';

/** No node is silent for so long while all is well: three heartbeats. */
export const STALE_MS = 6000;

export const CHANNEL_STATES = new Map([
  ['live', 'Live'],
  ['stalled', 'Stalled'],
  ['held', 'Held'],
  ['waiting', 'Waiting'],
]);

export const SOURCE_STATES = new Map([
  ['idle', 'Off'],
  ['starting', 'Starting'],
  ['live', 'Live'],
  ['stopping', 'Stopping'],
  ['external', 'Elsewhere'],
]);

const REASONS = new Map([
  ['offline', 'The device is offline'],
  ['no_media', 'It was asked, and nothing comes'],
  ['no_reply', 'The device does not answer'],
  ['decrypt_failed', 'What comes cannot be decrypted'],
  ['limit', 'The device sends as many as it can'],
  ['paused', 'The device has paused it'],
  ['gone', 'The camera is not there any more'],
  ['no_node', 'No node takes it'],
  ['no_broker', 'The broker cannot be reached'],
]);

/** Why a source does what it does, or whether its device is there; what is not known by name is told as it came. */
export function reasonText({ reason, online }) {
  if (reason) return REASONS.get(reason) ?? String(reason);
  return online === undefined ? '–' : online ? 'The device is there' : 'The device is offline';
}

/** The state of a node as people see it: silence counts more than what it said last. */
export function nodeState({ silent, state, age_ms: ageMs }) {
  if (silent) return { tone: 'bad', words: `Silent ${agoText(ageMs)}` };
  if (state === 'draining') return { tone: 'warn', words: 'Draining' };
  return state === 'in_service' ? { tone: 'good', words: 'In service' } : { tone: 'warn', words: String(state) };
}

/** `eu-west / a`. */
export const placeText = ({ region, zone }) => [region, zone].filter(Boolean).join(' / ');

/** `640 × 360 H.264, AAC 48 kHz` and `FLV`, as far as they are known. */
export function mediaParts({ container, tracks = [] }) {
  const made = tracksText(tracks);
  const packing = container ? containerName(container) : '';
  // MJPEG is the name of both.
  return [made, made.includes(packing) ? '' : packing].filter(Boolean);
}

/** Whether its stream is made of pictures that stand for themselves. */
export const hasSnapshot = ({ container }) => container === 'mjpeg';

/**
 * How far what is shown can be trusted.
 *
 * @param {{view: object | null, isReached: boolean, isAllowed: boolean, answerAgeMs: number | null}} known
 *   answerAgeMs: since the last answer; null before the first
 * @returns {{tone: 'good' | 'wait' | 'warn' | 'bad', words: string}}
 */
export function freshness({ view, isReached, isAllowed, answerAgeMs }) {
  if (!isReached) {
    const shown = answerAgeMs === null ? '' : ` What is shown is ${agoText(answerAgeMs)} old.`;
    return { tone: 'bad', words: `The stream-manager does not answer; asking again.${shown}` };
  }
  if (!isAllowed) return { tone: 'warn', words: 'The stream-manager tells nothing without a token.' };
  if (!view) return { tone: 'wait', words: 'Asking the stream-manager.' };
  const [registry, backbone] = [view.registry !== 'up', view.backbone !== 'up'];
  if (registry && backbone) {
    return { tone: 'bad', words: 'Neither the registry nor the backbone answers. What was known goes on to count.' };
  }
  const age = view.age_ms;
  if (backbone) return { tone: 'warn', words: 'The backbone is down: only the registry tells of nodes, and nothing of channels.' };
  if (registry) return { tone: 'warn', words: 'The registry is down: nodes still report, and what was known goes on to count.' };
  if (age === undefined || age === null) return { tone: 'wait', words: 'No node has reported yet.' };
  if (age > STALE_MS) return { tone: 'bad', words: `Nothing was heard of any node for ${agoText(age)}.` };
  return { tone: 'good', words: 'Registry and backbone answer, nodes report.' };
}

const ENDED = new Map([
  ['ended', 'was ended'],
  ['lost', 'ended: its publisher vanished'],
  ['replaced', 'ended: another publisher took over'],
]);

const channel = (event) => ({ channel: event.channel ?? '?' });
const node = (event) => ({ node: event.node ?? '?' });
const on = (event) => (event.node ? [' on ', node(event)] : []);
const because = (event) => (event.reason ? `: ${event.reason}` : '');

/** Kinds of events: the group they are filtered by, how they look, and the sentence they make. */
const EVENTS = new Map([
  ['channel.started', ['channels', 'good', (event) => [channel(event), ' went live', ...on(event)]]],
  ['channel.stalled', ['channels', 'warn', (event) => [channel(event), ' sends nothing any more', ...on(event)]]],
  ['channel.resumed', ['channels', 'good', (event) => [channel(event), ' sends again', ...on(event)]]],
  ['channel.ended', ['channels', 'plain', (event) => [channel(event), ` ${ENDED.get(event.reason) ?? `ended${because(event)}`}`]]],
  ['receivers.first', ['receivers', 'plain', (event) => ['Somebody came to watch ', channel(event)]]],
  ['receivers.last', ['receivers', 'plain', (event) => ['Nobody watches ', channel(event), ' any more']]],
  ['node.joined', ['nodes', 'good', (event) => [node(event), ' came into service']]],
  ['node.draining', ['nodes', 'warn', (event) => [node(event), ' takes nothing new any more']]],
  ['node.left', ['nodes', 'plain', (event) => [node(event), ' has left in order']]],
  ['node.lost', ['nodes', 'bad', (event) => [node(event), ' has vanished']]],
  ['admission.refused', ['refused', 'warn', (event) => [
    event.role === 'publish' ? 'A publisher' : 'A receiver',
    ...(event.channel ? [' of ', channel(event)] : []), ' was refused', ...on(event), because(event),
  ]]],
  ['gap', ['other', 'warn', () => ['Events were missed: the journal has forgotten what came before these']]],
]);

/**
 * An event as a sentence.
 *
 * @returns {{group: string, tone: string, parts: (string | {channel: string} | {node: string})[]}}
 */
export function tell(event) {
  const known = EVENTS.get(event.type);
  if (!known) return { group: 'other', tone: 'plain', parts: [String(event.type)] };
  const [group, tone, sentence] = known;
  return { group, tone, parts: sentence(event) };
}

/** What of the page an event makes old. */
export const concerns = ({ type }) => (/^node\./.test(type) ? 'nodes' : 'channels');

/** How many nodes are wanted beside how many there are. */
export function desiredText(desired, inService) {
  if (desired === inService) return 'as in service';
  return desired > inService ? `${numberText(desired - inService)} more wanted` : `${numberText(inService - desired)} could go`;
}
