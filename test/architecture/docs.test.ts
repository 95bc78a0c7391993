import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { operationsMarkdown } from '../../src/api/reference.ts';

const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));

test('every drill stands in docs/drills.md', () => {
  const folder = join(root, 'drills');
  const names = readdirSync(folder).flatMap(
    (file) =>
      /^ {2}name: '([a-z-]+)',\n {2}promise:/m.exec(
        readFileSync(join(folder, file), 'utf8'),
      )?.[1] ?? [],
  );
  assert.ok(names.length >= 13, names.join());
  const text = readFileSync(join(root, 'docs', 'drills.md'), 'utf8');
  assert.deepEqual(
    names.filter((name) => !text.includes(`**\`${name}\`**`)),
    [],
  );
});

test('docs/api.md is what the table of operations says', () => {
  assert.equal(
    readFileSync(join(root, 'docs', 'api.md'), 'utf8'),
    operationsMarkdown(),
    'run "node scripts/gen-operations.mjs" and commit the result',
  );
});
