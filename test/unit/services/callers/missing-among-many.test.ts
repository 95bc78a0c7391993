import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalBytes } from '../../../../src/domain/index.ts';
import {
  InventoryProof,
  type InventoryProofDependencies,
} from '../../../../src/services/callers/inventory-proof.ts';
import type { PageRequest } from '../../../../src/store/ports/index.ts';
import { FakeClock } from '../../../support/agent.ts';
import { listed } from '../../../support/listed.ts';

const uri = 'spiffe://mesh.test/busy';
const issued = (serial: string) =>
  canonicalBytes({
    ...{ timeMs: 1, actor: 'server', kind: 'certificate.issued', subject: uri },
    detail: { serial, sha256: `digest of ${serial}` },
  });

/** As many certificates of one identity as `count`; how many pages were read, what was announced. */
function scene(count: number) {
  const records = Array.from({ length: count }, (_, sequence) => ({
    sequence,
    canonical: issued(`s${sequence}`),
  }));
  const announced: string[] = [];
  const read = { pages: 0 };
  const proof = new InventoryProof({
    audit: {
      list: async (_filter: object, page: PageRequest) => {
        read.pages += 1;
        return listed(records, page);
      },
    },
    facts: { holds: async () => true },
    objects: { announce: ({ id }: { readonly id: string }) => announced.push(id) },
    clock: new FakeClock(0),
  } as unknown as InventoryProofDependencies);
  const missing = (serial: string) =>
    proof.missing({ serial, sha256: `digest of ${serial}`, uri, notBefore: 1 }, undefined);
  return { announced, read, missing };
}

test('a certificate that is missing is announced, however many its identity got before it', async () => {
  const { announced, missing } = scene(450);
  await missing('s449');
  assert.deepEqual(announced, ['s449']);
});

test('the pages that strangers cause to be read are limited, not the certificates alone', async () => {
  const { announced, read, missing } = scene(20_000);
  for (let times = 0; times < 3; times += 1) await missing('unknown');
  assert.ok(read.pages <= 22, `${read.pages} pages`);
  assert.deepEqual(announced, []);
});
