import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));

/** A file below test/fixtures, from the sources and from dist/ alike. */
export const fixturePath = (name: string): string => join(root, 'test', 'fixtures', name);
export const fixture = (name: string): Buffer => readFileSync(fixturePath(name));
