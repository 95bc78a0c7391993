import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadGraph, root } from './graph.ts';

/** The files of the server outside src/hsm that name one of these. */
const naming = (...words: readonly string[]): readonly string[] =>
  [...loadGraph(['src', 'sidecar', 'demo']).keys()]
    .filter(
      (path) =>
        path.startsWith('src/') &&
        !path.startsWith('src/hsm/') &&
        !path.startsWith('src/ceremony/'),
    )
    .filter((path) =>
      new RegExp(`\\b(${words.join('|')})\\b`).test(readFileSync(join(root, path), 'utf8')),
    )
    .sort();

test('signers and tokens are built in the first stage only, behind the signing gate', () => {
  // the doctor checks tokens without a server, and signs nothing
  assert.deepEqual(naming('openTokenAdmin'), ['src/compose/doctor.ts', 'src/compose/tokens.ts']);
  assert.deepEqual(naming('createSigners', 'DeferredSigners'), ['src/compose/signers.ts']);
  assert.deepEqual(naming('openSigners'), ['src/compose/signers.ts', 'src/compose/tokens.ts']);
  assert.deepEqual(naming('enclose'), ['src/compose/signing-gate.ts', 'src/compose/tokens.ts']);
});

test("the audit log's own way to the signers is used where the log is opened only", () => {
  assert.deepEqual(naming('logSigners'), [
    'src/compose/signing-gate.ts',
    'src/compose/store-and-log.ts',
  ]);
});

test('one place asks the audit log whether the database is stale', () => {
  assert.deepEqual(
    naming('onStale').filter((path) => path.startsWith('src/compose/')),
    ['src/compose/signing-gate.ts'],
  );
});
