import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CertificateRecord } from '../../../src/domain/index.ts';
import { ledgerIssuance } from '../../../src/ledger/issuance.ts';
import type { UnreplacedLeaves } from '../../../src/ledger/unreplaced-leaves.ts';
import type { IssuanceStore } from '../../../src/store/ports/index.ts';

const record = (serial: string, publicKeySha256: string): CertificateRecord =>
  ({ serial, publicKeySha256 }) as CertificateRecord;
const rows = [record('01', 'good'), record('02', 'good'), record('03', 'blocked')];

test('a certificate that was revoked, or whose key is blocked, answers no request again', async () => {
  const store: Pick<IssuanceStore, 'findRequest' | 'findRequests'> = {
    findRequest: (_, requestId) => Promise.resolve(rows.find(({ serial }) => serial === requestId)),
    findRequests: () => Promise.resolve(rows),
  };
  const issuance = ledgerIssuance(store as IssuanceStore, {} as UnreplacedLeaves, {
    isBlocked: (sha256) => sha256 === 'blocked',
    isRevoked: (serial) => serial === '02',
  });
  assert.deepEqual(await issuance.findRequests([]), [rows[0], undefined, undefined]);
  const one = (serial: string, key: string): Promise<CertificateRecord | undefined> =>
    issuance.findRequest('caller', serial, key);
  assert.equal((await one('01', 'good'))?.serial, '01');
  assert.equal(await one('02', 'good'), undefined);
  assert.equal(await one('03', 'blocked'), undefined);
});
