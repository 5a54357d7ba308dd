// Where playback should be within what is buffered. Pure: it looks at numbers and answers with a move.
//
// The thing kept small is the *margin*: the smallest distance to the live edge within a short window. A stream that arrives
// frame by frame and one that arrives in bursts of a second both play as close to live as their rhythm allows; chasing the
// distance to the newest byte instead would starve the second one before every burst.

// Seconds, unless the name says otherwise.
const TARGET_FIRST = 0.5;
const TARGET_LARGEST = 3;
const TARGET_GROWTH = 1.5;
// A target earned by a stall is given back step by step when this long has passed without another.
const TARGET_KEPT = 30;
const TARGET_DECAY = 0.8;

// Speeding up by a tenth is inaudible with pitch correction; more is not.
const RATE_EXTRA_MAX = 0.1;
const EXCESS_TOLERATED = 0.15;
const EXCESS_SEEK = 2.5;
// The first correction may be a visible jump: nobody has settled into the picture yet.
const EXCESS_SEEK_FIRST = 0.5;
// A hidden or paused player is only kept from hoarding; it goes to the live edge when it is looked at again.
const BEHIND_UNWATCHED = 10;

const WINDOW_SHORTEST = 1;
const WINDOW_LONGEST = 12;
const WINDOW_RHYTHMS = 1.5;

const BACK_BUFFER_KEPT = 10;
// Removing costs a pass over the buffer, so it waits until it is worth it.
const BACK_BUFFER_SLACK = 10;

// Decoders stop a little before the last sample ends.
const DRY = 0.05;
const DRY_STARVED = 0.3;
// Landing exactly on a range's start can round to just before it.
const INTO_RANGE = 0.01;
// A playhead that stays put this long with media ahead will not move by itself.
const STUCK_AFTER = 3;

export class BufferPolicy {
  #target = TARGET_FIRST;
  #lastStall = -Infinity;
  #margins = [];
  #arrivals = [];
  #moved = { position: NaN, now: 0 };
  #settled = false;
  #watched = true;
  // Playback begins as it resumes after a stall: once the target is there.
  #filling = true;

  get target() {
    return this.#target;
  }

  /** New media reached the buffer. */
  arrived(now) {
    this.#arrivals.push(now);
    while (this.#arrivals[0] < now - WINDOW_LONGEST) this.#arrivals.shift();
  }

  /**
   * One look at the player.
   *
   * @param {{now: number, position: number, ranges: [number, number][], starved: boolean, watched: boolean,
   *   flowing: boolean}} view `starved`: the decoder waits for data; `watched`: visible and not paused by its user;
   *   `flowing`: more media is to be expected.
   * @returns {{seekTo: number | null, rate: number, removeBefore: number | null}}
   *   Rate 0 holds the picture until the target is filled.
   */
  look({ now, position, ranges, starved, watched, flowing }) {
    const move = { seekTo: null, rate: 1, removeBefore: null };
    if (ranges.length === 0) return move;
    const current = ranges.find(([start, end]) => position >= start && position < end - DRY);
    // A seek into a range with less than a frame never ends.
    const next = ranges.find(([start, end]) => start > position && end - start > INTO_RANGE);
    if (!current && next) return { ...move, seekTo: next[0] + INTO_RANGE };

    const liveEdge = ranges.at(-1)[1];
    const behind = liveEdge - position;
    move.removeBefore = trimPoint(ranges[0][0], position);
    if (!watched) {
      this.#watched = false;
      if (behind > BEHIND_UNWATCHED) move.seekTo = liveEdge - this.#target;
      return move;
    }
    if (!this.#watched) {
      this.#watched = true;
      this.#margins = [];
      if (behind > this.#target + EXCESS_TOLERATED) move.seekTo = liveEdge - this.#target;
      return move;
    }

    if (!next && (behind < DRY || (starved && behind < DRY_STARVED))) this.#ranDry(now);
    if (this.#filling && flowing && !next && behind < this.#target) {
      this.#moved.now = now;
      return { ...move, rate: 0 };
    }
    this.#filling = false;
    this.#forgive(now);
    if (this.#isStuck(now, position)) return { ...move, seekTo: Math.max(position + DRY, liveEdge - this.#target) };

    const margin = this.#margin(now, behind);
    if (margin === null) return move;
    const excess = margin - this.#target;
    const tolerated = this.#settled ? EXCESS_SEEK : EXCESS_SEEK_FIRST;
    this.#settled = true;
    if (excess > tolerated) {
      this.#margins = [];
      return { ...move, seekTo: position + excess };
    }
    if (excess > EXCESS_TOLERATED) move.rate = 1 + Math.min(1, excess) * RATE_EXTRA_MAX;
    return move;
  }

  #ranDry(now) {
    if (this.#filling) return;
    this.#filling = true;
    this.#lastStall = now;
    this.#margins = [];
    this.#target = Math.min(TARGET_LARGEST, this.#target * TARGET_GROWTH);
  }

  #forgive(now) {
    if (this.#target === TARGET_FIRST || now - this.#lastStall < TARGET_KEPT) return;
    this.#target = Math.max(TARGET_FIRST, this.#target * TARGET_DECAY);
    this.#lastStall = now;
  }

  #isStuck(now, position) {
    if (position !== this.#moved.position) {
      this.#moved = { position, now };
      return false;
    }
    if (now - this.#moved.now < STUCK_AFTER) return false;
    this.#moved.now = now;
    return true;
  }

  /** The smallest distance to live within the window, or null while the window is not full. */
  #margin(now, behind) {
    const from = now - this.#window(now);
    this.#margins.push({ now, behind });
    const full = this.#margins[0].now <= from;
    while (this.#margins.length > 1 && this.#margins[1].now <= from) this.#margins.shift();
    return full ? Math.min(...this.#margins.map((sample) => sample.behind)) : null;
  }

  /** Long enough to see the low point of the rhythm in which media arrives. */
  #window(now) {
    const gaps = this.#arrivals.map((arrival, i) => (this.#arrivals[i + 1] ?? now) - arrival);
    return Math.min(WINDOW_LONGEST, Math.max(WINDOW_SHORTEST, WINDOW_RHYTHMS * Math.max(0, ...gaps)));
  }
}

function trimPoint(oldest, position) {
  return position - oldest > BACK_BUFFER_KEPT + BACK_BUFFER_SLACK ? position - BACK_BUFFER_KEPT : null;
}
