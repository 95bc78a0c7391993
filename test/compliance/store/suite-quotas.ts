import assert from 'node:assert/strict';
import { test } from 'node:test';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import type { AuditEvent, Right, Rights } from '../../../src/domain/index.ts';
import type { Ledger } from '../../../src/ledger/index.ts';
import type { FinishItem, FinishOutcome } from '../../../src/store/ports/index.ts';
import {
  activeAuthority,
  agentId,
  event,
  intent,
  mayFinish,
  signed,
  start,
  type OpenStore,
} from './fixtures.ts';

const place = (limit: number, counter = 'r'): Right => ({
  kind: 'quota',
  counter,
  rule: 'r',
  limit,
  perSeconds: 600,
});
const taking = (stated: AuditEvent, counter = 'r'): AuditEvent => ({
  ...stated,
  detail: { ...stated.detail, policyQuota: counter, policyQuotaUntil: start + 600 },
});
const stateOf = (outcome: FinishOutcome | undefined): string =>
  outcome?.state === 'withheld' ? outcome.code : (outcome?.state ?? 'none');

/** Signed certificates, of which each needs these rights and takes a place. */
async function finishing(
  store: Ledger,
  count: number,
  { authorityId, rights, counter }: { authorityId: string; rights: Rights; counter?: string },
): Promise<readonly FinishItem[]> {
  const intents = Array.from({ length: count }, () => intent({ authorityId }));
  await store.issuance.recordIntents(intents);
  return intents.map((each) => {
    const item = signed(each, rights);
    return item.kind === 'signed' ? { ...item, event: taking(item.event, counter) } : item;
  });
}

/** The last transaction lets no more pass than places are free, whatever shares a commit. */
export function quotaCases(name: string, open: OpenStore): void {
  test(`${name}: of the items of a batch as many pass as places are free, and the end frees them`, async () => {
    await using opened = await open();
    const { store, clock } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const rights = [mayFinish(authorityId), place(2)];
    const finish = async (count: number, counter = 'r'): Promise<readonly string[]> => {
      const of = { authorityId, rights: [mayFinish(authorityId), place(2, counter)], counter };
      return (await store.issuance.finish(await finishing(store, count, of))).map(stateOf);
    };
    assert.deepEqual(await finish(4), [
      ...['issued', 'issued'],
      ...['POLICY_QUOTA_USED', 'POLICY_QUOTA_USED'],
    ]);
    assert.deepEqual(await finish(1), ['POLICY_QUOTA_USED']);
    assert.deepEqual(await finish(1, 'other'), ['issued']);
    clock.advance(599);
    assert.deepEqual(await finish(1), ['POLICY_QUOTA_USED']);
    clock.advance(1);
    const [item] = await finishing(store, 1, { authorityId, rights });
    assert.deepEqual((await store.issuance.finish([item as FinishItem])).map(stateOf), ['issued']);
    assert.deepEqual(store.quotas.ends('r'), [start + 600, start + 600, start + 600]);
  });

  test(`${name}: certificates and JWT-SVIDs in one commit pass the last place once`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const rights = [mayFinish(authorityId), place(5)];
    const items = await finishing(store, 10, { authorityId, rights });
    const jwts = items.map(() => ({
      ...{ jti: uuidv7(), subject: 'spiffe://example.org/web', audience: ['a'], issuedAt: start },
      ...{ expiresAt: start + 600, authorityId, entryId: 'e', holder: agentId, rights },
      event: taking(event('jwt.issued')),
    }));
    const outcomes = await Promise.all([
      ...items.map((item) => store.issuance.finish([item])),
      ...jwts.map((jwt) => store.issuance.recordJwtSvids([jwt])),
    ]);
    const states = outcomes.flat().map(stateOf);
    assert.equal(states.filter((state) => state === 'issued').length, 5);
    assert.equal(states.filter((state) => state === 'POLICY_QUOTA_USED').length, 15);
  });

  test(`${name}: what is withheld takes no place`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const gone: Right = { kind: 'entry', id: 'gone', revision: 1 };
    const [withheld] = await finishing(store, 1, {
      authorityId,
      rights: [mayFinish(authorityId), gone, place(1)],
    });
    const [free, full] = await finishing(store, 2, {
      authorityId,
      rights: [mayFinish(authorityId), place(1)],
    });
    const all = [withheld, free, full] as readonly FinishItem[];
    assert.deepEqual((await store.issuance.finish(all)).map(stateOf), [
      'ENTRY_NOT_AUTHORIZED',
      'issued',
      'POLICY_QUOTA_USED',
    ]);
    assert.deepEqual(store.quotas.ends('r'), [start + 600]);
  });
}
