// One process at a time, by a lock file that holds the owner's process ID.
import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';

/**
 * Runs `work` while holding the lock file. Waits for a living owner, takes over from a dead one.
 * @template T
 * @param {string} lockFile
 * @param {() => T} work synchronous, so that the lock is never held across a crash of the event
 * loop
 * @param {{ onWait?: () => void, patienceSeconds?: number }} [options]
 * @returns {T}
 */
export function exclusively(lockFile, work, { onWait = () => {}, patienceSeconds = 600 } = {}) {
  acquire(lockFile, onWait, patienceSeconds);
  try {
    return work();
  } finally {
    rmSync(lockFile, { force: true });
  }
}

function acquire(lockFile, onWait, patienceSeconds) {
  const pauseMs = 100;
  for (let waitedMs = 0; ; waitedMs += pauseMs) {
    try {
      const handle = openSync(lockFile, 'wx', 0o600);
      writeSync(handle, String(process.pid));
      closeSync(handle);
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    if (waitedMs > patienceSeconds * 1000)
      throw new Error(
        `another process has held ${lockFile} for ${patienceSeconds} s; remove the file if none is at work`,
      );
    // A file that stays empty is one whose owner died between creating and writing it.
    const owner = ownerOf(lockFile);
    if (owner === 'dead' || (owner === 'unwritten' && waitedMs >= 1000))
      rmSync(lockFile, { force: true });
    else {
      if (waitedMs === 0 && owner === 'alive') onWait();
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
    }
  }
}

function ownerOf(lockFile) {
  try {
    const text = readFileSync(lockFile, 'utf8');
    if (text === '') return 'unwritten';
    process.kill(Number(text), 0);
    return 'alive';
  } catch (error) {
    // EPERM: it lives, under another user.
    return error.code === 'EPERM' ? 'alive' : 'dead';
  }
}
