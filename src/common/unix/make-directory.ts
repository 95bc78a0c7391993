import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a directory and its parents. An existing directory is not changed. This replaces `mkdir`
 * with `recursive`, which never returns below a file system without directories (`/proc/x`): there
 * the parent exists, but mkdir answers ENOENT. Throws the error of mkdir(2).
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
