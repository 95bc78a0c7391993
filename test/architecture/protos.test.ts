import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

type Surface = Readonly<Record<string, string>>;
const script: string = new URL(
  '../scripts/proto-baseline.mjs',
  import.meta.resolve('#proto/README.md'),
).href;
const { breakingChanges, present, surfaceOf } = (await import(script)) as {
  readonly breakingChanges: (baseline: Surface, surface: Surface) => readonly string[];
  readonly present: () => Surface;
  readonly surfaceOf: (texts: readonly string[]) => Surface;
};
const baseline = JSON.parse(
  readFileSync(fileURLToPath(import.meta.resolve('#proto/baseline.json')), 'utf8'),
) as Surface;

test('the protos have everything that the baseline has, and nothing that it lacks', () => {
  assert.deepEqual(breakingChanges(baseline, present()), []);
  const added = Object.keys(present()).filter((name) => baseline[name] === undefined);
  assert.deepEqual(added, [], '"npm run proto" takes additions over');
});

const proto = (body: string, version = 'v1') =>
  surfaceOf([
    `syntax = "proto3"; package x.${version};
     service S { rpc Go(A) returns (A); }
     enum E { ZERO = 0; ONE = 1; }
     ${body}`,
  ]);
const before =
  'message A { string one = 1; repeated int64 two = 2; oneof of { bytes three = 3; } }';

test('additions pass; what is removed, renumbered, retyped or renamed is a breaking change', () => {
  const changed = (after: string): number => breakingChanges(proto(before), proto(after)).length;
  assert.equal(changed(before), 0);
  assert.equal(changed(before.replace('string one', 'string four = 4; string one')), 0);
  assert.equal(changed(before.replace('string one = 1;', '')), 1);
  assert.equal(changed(before.replace('one = 1', 'one = 9')), 1);
  assert.equal(changed(before.replace('string one', 'bytes one')), 1);
  assert.equal(changed(before.replace('repeated int64', 'int64')), 1);
  assert.equal(changed(before.replace('string one', 'string uno')), 1);
  assert.equal(changed(before.replace('oneof of { bytes three = 3; }', 'bytes three = 3;')), 1);
});

test('methods and values of enums count, and a version that is not stable may change', () => {
  const service = 'syntax = "proto3"; package x.VERSION; message A {} enum E { ZERO = 0; }';
  const of = (rest: string, version: string) =>
    surfaceOf([service.replace('VERSION', version).replace('ZERO = 0;', rest)]);
  const changes = (version: string) =>
    breakingChanges(of('ZERO = 0; ONE = 1;', version), of('ZERO = 0; ONE = 2;', version));
  assert.equal(changes('v1').length, 1);
  assert.equal(changes('v1beta1').length, 0);
  const method = (text: string) =>
    surfaceOf([`syntax = "proto3"; package x.v1; message A {} service S { ${text} }`]);
  const [unary, stream] = ['rpc Go(A) returns (A);', 'rpc Go(A) returns (stream A);'];
  assert.equal(breakingChanges(method(unary), method(stream)).length, 1);
  assert.equal(breakingChanges(method(unary), method('')).length, 1);
});

test('the stubs of the clients are made from the present protos', async () => {
  const { recordedInputs, stubInputs } = (await import(
    new URL('../scripts/client-stubs.mjs', import.meta.resolve('#proto/README.md')).href
  )) as { readonly recordedInputs: () => object; readonly stubInputs: () => object };
  assert.deepEqual(recordedInputs(), stubInputs(), 'node scripts/client-stubs.mjs');
});
