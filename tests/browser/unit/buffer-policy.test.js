import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BufferPolicy } from '../../../services/edge/src/page/buffer-policy.js';

const STEP = 0.05;

/** A player and a stream in simulated time: media of `burst` seconds arrives every `burst` seconds. */
class Simulation {
  policy = new BufferPolicy();
  now = 0;
  position = 0;
  begin = 1000;
  edge = 1000;
  rate = 1;
  seeks = 0;
  dry = 0;
  watched = true;
  flowing = true;
  #due = 0;

  constructor({ cached = 0, burst = STEP }) {
    this.burst = burst;
    this.edge += cached;
    this.policy.arrived(0);
  }

  run(seconds, { stopped = false } = {}) {
    for (let steps = Math.round(seconds / STEP); steps > 0; steps -= 1) this.#step(stopped);
  }

  get behind() {
    return this.edge - this.position;
  }

  #step(stopped) {
    this.now += STEP;
    this.#due += STEP;
    if (this.#due >= this.burst && !stopped) {
      this.edge += this.#due;
      this.#due = 0;
      this.policy.arrived(this.now);
    }
    const wanted = this.position + STEP * this.rate;
    const playable = this.position >= this.begin && wanted <= this.edge;
    if (playable) this.position = wanted;
    else this.dry += 1;
    const { seekTo, rate, removeBefore } = this.policy.look({
      now: this.now,
      position: this.position,
      ranges: this.edge > this.begin ? [[this.begin, this.edge]] : [],
      starved: !playable,
      watched: this.watched,
      flowing: this.flowing,
    });
    if (seekTo !== null) {
      this.seeks += 1;
      this.position = seekTo;
    }
    if (removeBefore !== null) this.begin = removeBefore;
    this.rate = rate;
  }
}

test('playback starts where the buffer starts, whatever the timestamps', () => {
  const run = new Simulation({ cached: 1 });
  run.run(STEP);
  assert.ok(run.position >= 1000);
});

test('a steady stream is played about half a second behind live', () => {
  const run = new Simulation({ cached: 2 });
  run.run(20);
  assert.ok(run.behind > 0.3 && run.behind < 0.9, `${run.behind} s`);
  const seeks = run.seeks;
  run.run(60);
  assert.equal(run.seeks, seeks, 'and stays there without jumping');
});

test('a stream in bursts of a second is neither starved nor chased', () => {
  const run = new Simulation({ cached: 1, burst: 1 });
  run.run(20);
  const { dry, seeks } = run;
  run.run(60);
  assert.equal(run.dry, dry);
  assert.equal(run.seeks, seeks);
  assert.ok(run.behind < 2.5, `${run.behind} s`);
});

test('small lag is caught up by speed, large lag by a jump', () => {
  const run = new Simulation({ cached: 0.6 });
  run.run(10);
  const { seeks } = run;
  run.edge += 1;
  run.run(2);
  assert.ok(run.rate > 1 && run.rate <= 1.1, `rate ${run.rate}`);
  assert.equal(run.seeks, seeks);
  run.run(40);
  assert.ok(run.behind < 0.9, `${run.behind} s after catching up`);
  run.edge += 8;
  run.run(3);
  assert.equal(run.seeks, seeks + 1);
  assert.ok(run.behind < 1);
});

test('each stall asks for more in reserve, and calm gives it back', () => {
  const run = new Simulation({ cached: 0.6 });
  run.run(5);
  run.run(3, { stopped: true });
  run.run(5);
  assert.ok(run.policy.target > 0.7);
  assert.ok(run.behind >= run.policy.target - 0.1);
  run.run(120);
  assert.equal(run.policy.target, 0.5);
});

test('what is left is played when nothing more will come', () => {
  const run = new Simulation({ cached: 0.6 });
  run.run(5);
  run.flowing = false;
  run.run(5, { stopped: true });
  assert.ok(run.behind < 0.1, `${run.behind} s left`);
});

test('a hole is jumped', () => {
  const policy = new BufferPolicy();
  const view = { now: 1, starved: true, watched: true, flowing: true, position: 4.99, ranges: [[0, 5], [7, 9]] };
  assert.ok(Math.abs(policy.look(view).seekTo - 7) < 0.05);
});

test('a playhead that is stuck with media ahead is moved', () => {
  const policy = new BufferPolicy();
  const look = (now) => policy.look({ now, starved: true, watched: true, flowing: true, position: 3, ranges: [[0, 5]] });
  look(0);
  look(0.5);
  assert.ok(look(4).seekTo > 3);
});

test('nobody watching means no chase, one jump on return, and a bounded buffer', () => {
  const run = new Simulation({ cached: 0.6 });
  run.run(10);
  const { seeks } = run;
  run.watched = false;
  run.edge += 5;
  run.run(5);
  assert.equal(run.rate, 1);
  assert.equal(run.seeks, seeks);
  run.edge += 20;
  run.run(1);
  assert.equal(run.seeks, seeks + 1);
  run.edge += 5;
  run.watched = true;
  run.run(10);
  assert.equal(run.seeks, seeks + 2);
});

test('the past is trimmed', () => {
  const run = new Simulation({ cached: 0.6 });
  run.run(90);
  assert.ok(run.position - run.begin <= 21);
});

test('a range with less than a frame is passed over', () => {
  const ranges = [[0, 0.4], [1.052033, 1.052055], [1.71, 4.5]];
  const look = { now: 1, position: 0.4, ranges, starved: true, watched: true, flowing: true };
  const { seekTo } = new BufferPolicy().look(look);
  assert.ok(seekTo > 1.71 && seekTo < 1.8, `${seekTo}`);
});
