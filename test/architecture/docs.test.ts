import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));

test('every drill stands in docs/drills.md', () => {
  const folder = join(root, 'drills');
  // a folder has the parts of one drill
  const names = readdirSync(folder, { withFileTypes: true }).flatMap((file) =>
    file.isFile()
      ? (/^ {2}name: '([a-z-]+)',\n {2}promise:/m.exec(
          readFileSync(join(folder, file.name), 'utf8'),
        )?.[1] ?? [])
      : [],
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

test('every path and command that CONTRIBUTING.md names is there', () => {
  const text = readFileSync(join(root, 'CONTRIBUTING.md'), 'utf8');
  const paths = [
    ...text.matchAll(
      /`((?:src|sidecar|test|proto|docs|drills|scripts)\/[A-Za-z0-9_./-]*[A-Za-z0-9/])`/g,
    ),
  ].map((match) => match[1] as string);
  const files = [...text.matchAll(/--watch (\S+)|\]\(([A-Z]+\.md)\)/g)].map(
    (match) => match[1] ?? (match[2] as string),
  );
  assert.ok(paths.length > 15 && files.length >= 2, [...paths, ...files].join());
  const example = new Set(['test/unit/hsm/a.test.ts', 'src/hsm/a.ts']);
  assert.deepEqual(
    [...paths, ...files].filter((path) => !example.has(path) && !existsSync(join(root, path))),
    [],
  );
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    readonly scripts: Readonly<Record<string, string>>;
  };
  const commands = [...text.matchAll(/npm run ([a-z]+)/g)].map((match) => match[1] as string);
  assert.deepEqual(
    commands.filter((name) => scripts[name] === undefined),
    [],
  );
});
