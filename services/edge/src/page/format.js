// Numbers for people. Pure.

export function bitrateText(bitsPerSecond) {
  if (bitsPerSecond >= 1_000_000) return `${(bitsPerSecond / 1_000_000).toFixed(1)} Mbit/s`;
  return `${Math.round(bitsPerSecond / 1000)} kbit/s`;
}

export function secondsText(seconds) {
  return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
}

/** `0:07`, `12:30`, `1:02:03`. */
export function elapsedText(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const [hours, minutes, rest] = parts;
  const two = (n) => String(n).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

export function countText(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}
