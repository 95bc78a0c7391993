import type { setFiles } from './target-directory.ts';

/** The directory of a target as a server reads it: written by a test, or by an agent. */
export interface ServedDirectory {
  readonly path: string;
  /** The serial of the set that `current` names. */
  readonly currentSerial: string;
  /** A file of the set that `current` names. */
  file(kind: keyof typeof setFiles): string;
}
