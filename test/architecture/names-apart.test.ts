import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadGraph, root } from './graph.ts';

const files = [...loadGraph(['src', 'sidecar', 'demo']).keys()];

const naming = (word: string, ...folders: readonly string[]): readonly string[] =>
  files
    .filter((path) => folders.some((folder) => path.startsWith(`${folder}/`)))
    .filter((path) => readFileSync(join(root, path), 'utf8').includes(word))
    .sort();

test('the roots of names are read where certificates for names are issued and published only', () => {
  assert.deepEqual(naming('namesRootsDer', 'src', 'demo'), [
    'src/api/messages/issuing.ts',
    // writes the field of the message below
    'src/common/wire/certificate-answers.ts',
    'src/common/wire/generated/meshca/issuer/v1/X509Svid.ts',
    'src/compose/http.ts',
    'src/issuance/authorities.ts',
    'src/issuance/authority-registry.ts',
    'src/services/issuing/names-service.ts',
    'src/services/issuing/svid-service.ts',
    'src/services/issuing/svids.ts',
  ]);
});

test('at an agent only file targets take the roots of names, and entries for names', () => {
  assert.deepEqual(naming('namesRootsDer', 'sidecar'), [
    'sidecar/files/delivery-lease.ts',
    'sidecar/svid/names-certificate.ts',
  ]);
  // every socket finds identities by `match`, which gives no entry for names
  assert.deepEqual(naming('ofTarget(', 'sidecar'), [
    'sidecar/apis/local/explain.ts',
    'sidecar/cache/entry-cache.ts',
    'sidecar/files/delivery-lease.ts',
    'sidecar/ports/entries.ts',
  ]);
});
