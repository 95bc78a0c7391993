import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * The release, from package.json: found upwards, since sources, build and bundle lie at
 * different depths.
 */
export const version: string = readVersion();

function readVersion(): string {
  for (const path of ['../../package.json', '../../../package.json', '../../../../package.json']) {
    try {
      const manifest = JSON.parse(
        readFileSync(fileURLToPath(new URL(path, import.meta.url)), 'utf8'),
      ) as { name?: string; version?: string };
      if (manifest.name === 'meshca' && manifest.version !== undefined) return manifest.version;
    } catch {
      continue;
    }
  }
  return '0.0.0';
}
