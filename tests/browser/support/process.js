// Processes that a test starts and ends.
//
// Every one is ended by its own id; `endAll` runs after each file's last test, so a failed test leaves nothing behind.

import { spawn } from 'node:child_process';
import { once } from 'node:events';

const running = new Set();

export function start(command, args, stdio) {
  const child = spawn(command, args, { stdio });
  running.add(child);
  child.once('error', () => running.delete(child));
  child.once('exit', () => running.delete(child));
  // A pipe to a process that ended first is no accident here.
  child.stdin?.on('error', () => {});
  return child;
}

/** Sends a signal and resolves when the process is gone. */
export async function end(child, signal = 'SIGKILL') {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill(signal);
  await gone;
}

export async function endAll() {
  await Promise.all([...running].map((child) => end(child)));
}
