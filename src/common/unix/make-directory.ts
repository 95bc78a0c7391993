import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a directory with those above it; one that stands already stays as it is. In place of
 * `mkdir` with `recursive`, which never returns below a file system that makes no directories
 * (`/proc/x`): there the parent stands, and the answer is ENOENT all the same. Throws what mkdir(2)
 * says.
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

/** With its parent there; another process may have been faster. */
function makeOne(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
  }
}
