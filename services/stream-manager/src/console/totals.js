// The cluster in seven figures.

import { byId, setText } from './dom.js';
import { numberText, rateText, shareText } from './format.js';
import { History, linePath } from './history.js';
import { desiredText } from './words.js';

const LINE = { width: 100, height: 24 };

export class Totals {
  #history = new History();

  show(capacity, nowMs) {
    const { nodes, draining, silent, sessions, egress, channels_live: live, receivers } = capacity;
    setText(byId('total-nodes'), numberText(nodes));
    const others = [draining && `${numberText(draining)} draining`, silent && `${numberText(silent)} silent`];
    setText(byId('total-nodes-detail'), others.filter(Boolean).join(', ') || 'none draining or silent');
    byId('total-nodes-detail').dataset.tone = silent ? 'bad' : '';
    setText(byId('total-channels'), numberText(live));
    setText(byId('total-receivers'), numberText(receivers));
    setText(byId('total-sessions'), numberText(sessions.used));
    setText(byId('total-sessions-detail'), sessions.capacity === undefined ? '' : `of ${numberText(sessions.capacity)}`);
    setText(byId('total-egress'), rateText(egress.used));
    setText(byId('total-egress-detail'), egress.capacity === undefined ? '' : `of ${rateText(egress.capacity)}`);
    const { utilization, utilization_target: target, desired_nodes: desired } = capacity;
    setText(byId('total-utilization'), shareText(utilization));
    setText(byId('total-utilization-detail'), `target ${shareText(target)}`);
    byId('utilization-fill').style.width = `${Math.min(1, utilization) * 100}%`;
    byId('utilization-fill').dataset.tone = utilization > target ? 'warn' : '';
    byId('utilization-target').style.left = `${Math.min(1, target) * 100}%`;
    setText(byId('total-desired'), numberText(desired));
    setText(byId('total-desired-detail'), desiredText(desired, nodes));
    this.#history.add([receivers, egress.used], nowMs);
    byId('total-receivers-line').setAttribute('d', linePath(this.#history.of(0), { ...LINE, least: 1 }));
    byId('total-egress-line').setAttribute('d', linePath(this.#history.of(1), { ...LINE, least: 1000 }));
  }
}
