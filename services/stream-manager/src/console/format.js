// Numbers for people. Pure.

const WHOLE = new Intl.NumberFormat('en');

/** `12,345`. */
export const numberText = (number) => WHOLE.format(number);

/** `1 node`, `2 nodes`. */
export const countText = (count, one, many = `${one}s`) => `${numberText(count)} ${count === 1 ? one : many}`;

const scaled = (value, units) => {
  const unit = units.findIndex((_, i) => value < 999.5 * 1000 ** i || i === units.length - 1);
  const number = value / 1000 ** unit;
  return `${number.toFixed(unit > 0 && number < 99.95 ? 1 : 0)} ${units[unit]}`;
};

/** `0 bit/s`, `64.0 kbit/s`, `1.2 Gbit/s`. */
export const rateText = (bitsPerSecond) => scaled(bitsPerSecond, ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s', 'Tbit/s']);

/** `512 B`, `1.5 MB`. */
export const bytesText = (bytes) => scaled(bytes, ['B', 'kB', 'MB', 'GB', 'TB']);

/** Of 1, as `43 %`. What is there is never shown as nothing. */
export function shareText(share) {
  if (share > 0 && share < 0.01) return '<1 %';
  return `${numberText(Math.round(share * 100))} %`;
}

/** How long ago, in one unit: `0.4 s`, `12 s`, `3 min`, `2 h`, `5 d`. */
export function agoText(ms) {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 119.5) return `${Math.round(seconds)} s`;
  const [minutes, hours] = [seconds / 60, seconds / 3600];
  if (minutes < 119.5) return `${Math.round(minutes)} min`;
  return hours < 47.5 ? `${Math.round(hours)} h` : `${Math.round(hours / 24)} d`;
}

/** How long, in two units: `42 s`, `3 min`, `4 h 12 min`, `3 d 4 h`. */
export function spanText(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [minutes, hours, days] = [60, 3600, 86_400].map((unit) => Math.floor(seconds / unit));
  if (minutes === 0) return `${seconds} s`;
  if (hours === 0) return `${minutes} min`;
  return days === 0 ? `${hours} h ${minutes % 60} min` : `${days} d ${hours % 24} h`;
}

/** Since a time in RFC 3339, by the clock here; null where that is none. */
export function sinceText(time, nowMs) {
  const ms = Date.parse(time ?? '');
  return Number.isNaN(ms) ? null : spanText(nowMs - ms);
}

/** `14:03:09`, where the reader is. */
export function clockText(time) {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return '–';
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
}
