import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a directory and its parents; an existing one stays as it is. Replaces `mkdir` with
 * `recursive`, which never returns below a file system without directories (`/proc/x`), where the
 * parent exists and mkdir answers ENOENT all the same. Throws the error of mkdir(2).
 */
export function makeDirectory(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode });
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code === 'EEXIST' && statSync(path).isDirectory()) return;
    const parent = dirname(path);
    if (code !== 'ENOENT' || parent === path) throw thrown;
    makeDirectory(parent, mode);
    makeOne(path, mode);
  }
}

/** Makes a directory whose parent exists. Another process may be faster. */
function makeOne(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
  }
}
