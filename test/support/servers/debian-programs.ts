import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

/** Where scripts/servers.mjs unpacks what this system has not installed. */
export const unpackedServers = join(
  process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'),
  'meshca',
  'debian-servers',
);

export interface DebianProgram {
  /** What starts it. */
  readonly path: string;
  /** What then runs: another file where it is started with unpacked libraries. */
  readonly executable: string;
}

/**
 * A server of the distribution: installed on this system, or unpacked by `npm run setup -- --for=test`.
 * Throws where it is missing: a missing part fails a test.
 */
export function debianProgram(name: string): DebianProgram {
  const folders = [...postgres(), ...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin'];
  const installed = folders.map((folder) => join(folder, name)).find(existsSync);
  if (installed !== undefined) return { path: installed, executable: installed };
  const path = join(unpackedServers, 'starters', name);
  if (!existsSync(path)) throw new Error(`${name} is not there: run "npm run setup -- --for=test"`);
  const executable = /exec '(.*)'/.exec(readFileSync(path, 'utf8'))?.[1] as string;
  return { path, executable };
}

/** The folders with the programs of PostgreSQL, newest first. */
function postgres(): readonly string[] {
  const folder = '/usr/lib/postgresql';
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .sort((a, b) => Number(b) - Number(a))
    .map((version) => join(folder, version, 'bin'));
}
