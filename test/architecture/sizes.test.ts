import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));
const widest = 120;

/** Lines of all sources below a folder, without what is generated. */
const linesBelow = (folder: string): readonly string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => /\.(ts|mjs)$/.test(path) && !path.includes('generated'))
    .flatMap((path) => readFileSync(join(root, folder, path), 'utf8').split('\n'));

for (const folder of ['src', 'sidecar', 'test', 'drills', 'demo', 'bench', 'scripts'])
  test(`fewer than 1 % of the lines in ${folder}/ are wider than ${widest} characters`, () => {
    const lines = linesBelow(folder);
    const wide = lines.filter(({ length }) => length > widest).length;
    assert.ok(lines.length > 100, `${folder} has only ${lines.length} lines`);
    assert.ok(wide / lines.length < 0.01, `${wide} of ${lines.length} lines are wider`);
  });

/** What the size rules for tests say of a source file, by line. */
function findingsIn(source: string): readonly string[] {
  const folder = mkdtempSync(join(tmpdir(), 'meshca-sizes-'));
  try {
    writeFileSync(
      join(folder, 'rules.json'),
      JSON.stringify({
        jsPlugins: [join(root, 'scripts', 'lint', 'test-sizes.mjs')],
        categories: { correctness: 'off' },
        rules: {
          'test-sizes/function-lines': ['error', { max: 4 }],
          'test-sizes/function-parameters': ['error', { max: 2 }],
        },
      }),
    );
    writeFileSync(join(folder, 'a.ts'), source);
    const oxlint = join(root, 'node_modules', 'oxlint', 'bin', 'oxlint');
    const args = [oxlint, '-c', join(folder, 'rules.json'), '-f', 'unix', join(folder, 'a.ts')];
    return findingsOf(args);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function findingsOf(args: readonly string[]): readonly string[] {
  let output: string;
  try {
    output = execFileSync(process.execPath, args, { encoding: 'utf8' });
  } catch (thrown) {
    output = (thrown as { stdout: string }).stdout;
  }
  return [...output.matchAll(/a\.ts:\d+:\d+: (.*?); at most/g)].map((match) => match[1] as string);
}

test('size rules for tests leave out callbacks of the runner with all that stands in them', () => {
  const body = '\n  a;\n  a;\n  a;\n';
  assert.deepEqual(
    findingsIn(`test('x', () => {${body}});\ntest.only('x', (a, b, c) => {${body}});`),
    [],
  );
  assert.deepEqual(
    findingsIn(`describe('x', () => {\n  const f = (a, b, c) => {${body}};\n});`),
    [],
  );
  assert.deepEqual(
    findingsIn(`test('x', async (t) => {\n  await t.test('y', () => {${body}});\n});`),
    [],
  );
});

test('size rules for tests count functions without the callbacks of the runner in them', () => {
  const body = '\n  a;\n  a;\n  a;\n';
  assert.deepEqual(findingsIn(`export function suite1() {\n  test('x', () => {${body}});\n}`), []);
  assert.deepEqual(findingsIn(`function long() {${body}}`), ['long has 5 lines']);
  assert.deepEqual(findingsIn(`class A {\n  wide(a, b, c) {}\n}`), ['wide has 3 parameters']);
  assert.deepEqual(findingsIn(`each(() => {${body}});`), ['this function has 5 lines']);
});
