import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

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

test('references of configuration, error codes and operations are as the sources have them', () => {
  const script = join(root, 'scripts', 'reference.mjs');
  const { status, stderr } = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
});
