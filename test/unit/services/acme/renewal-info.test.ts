import assert from 'node:assert/strict';
import { test } from 'node:test';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr, sha256Hex, spkiOf } from '../../../../src/common/x509/index.ts';
import type { Authority } from '../../../../src/domain/index.ts';
import { InventoryProof } from '../../../../src/services/index.ts';
import { certificateIdOf } from '../../../../src/services/acme/certificate-id.ts';
import { AcmeRefusal } from '../../../../src/services/acme/problem.ts';
import { RenewalInfo } from '../../../../src/services/acme/renewal-info.ts';
import { createServicesWorld, local, newKey } from '../../../support/services-world.ts';

const day = 86_400;
const explanationUrl = 'https://ca.test/early';

async function world(profile = 'classic', ttlSeconds = 0) {
  const w = await createServicesWorld({ revocable: true });
  const key = newKey();
  const { leaf } = await w.services.names.issue(local, {
    ...{ requestId: uuidv7(), dnsNames: ['www.shop.test'], ips: [], csrDer: createCsr(key) },
    ...{ profile, ttlSeconds },
  });
  let authorities: readonly Authority[] = [w.issuing];
  const { audit, blockedKeys, certificates, objects, revocations } = w.store;
  const info = new RenewalInfo({
    ...{ certificates, revocations, blockedKeys, explanationUrl, clock: w.clock },
    inventory: new InventoryProof({
      ...{ audit, objects, clock: w.clock },
      facts: { holds: () => Promise.resolve(true) },
    }),
    authorities: { all: () => authorities },
  });
  const id = certificateIdOf(leaf.chainDer[0] as Buffer) as string;
  const read = async () => {
    const { body, retryAfterSeconds, status } = await info.read(id);
    const json = (body as { json: Record<string, unknown> }).json;
    const window = json['suggestedWindow'] as { readonly start: string; readonly end: string };
    return {
      start: Date.parse(window.start) / 1000,
      end: Date.parse(window.end) / 1000,
      explanation: json['explanationURL'],
      ...{ retryAfterSeconds, status },
    };
  };
  const set = (all: readonly Authority[]): void => void (authorities = all);
  return { w, info, leaf, key, id, read, set };
}

const statusOf = (act: Promise<unknown>): Promise<number> =>
  act.then(
    () => 200,
    (thrown: unknown) => {
      assert.ok(thrown instanceof AcmeRefusal, String(thrown));
      assert.equal(thrown.problem.type, 'malformed');
      return thrown.problem.status;
    },
  );

test('anybody who knows a certificate learns its window, and when to ask again', async () => {
  const { w, info, leaf, read } = await world();
  await using _ = w;
  const { start, end, explanation, retryAfterSeconds, status } = await read();
  const now = w.clock.now();
  assert.deepEqual([status, retryAfterSeconds, explanation], [200, 6 * 3_600, undefined]);
  assert.ok(start > now + 19 * day && end < now + 21 * day && start < end, `${start} ${end}`);
  assert.ok(!(await info.isDue(leaf.serial)));
  w.clock.advance((start - now) * 1_000);
  assert.ok(await info.isDue(leaf.serial));
});

test('the window of a certificate that was revoked lies in the past', async () => {
  const { w, info, leaf, read } = await world();
  await using _ = w;
  await w.services.selections.revoke(local, {
    ...{ selection: { dnsName: 'www.shop.test' }, reason: 'superseded', actId: '' },
  });
  const { start, end, explanation, retryAfterSeconds } = await read();
  assert.ok(start < end && end < w.clock.now());
  assert.deepEqual([explanation, retryAfterSeconds], [explanationUrl, 600]);
  assert.ok(await info.isDue(leaf.serial));
});

test('so does that of a certificate with a blocked key', async () => {
  const { w, key, read } = await world();
  await using _ = w;
  await w.services.keys.block(local, { publicKeySha256: sha256Hex(spkiOf(key)) }, 'stolen');
  assert.ok((await read()).end < w.clock.now());
});

test('and that below an authority that was tainted or revoked, however far above', async () => {
  const { w, read, set } = await world();
  await using _ = w;
  const { issuing } = w;
  const root = (state: Authority['state']): Authority => ({
    ...issuing,
    id: issuing.parentId as string,
    parentId: null,
    state,
  });
  for (const [all, isEarly] of [
    [[issuing, root('active')], false],
    [[{ ...issuing, state: 'old' }, root('old')], false],
    [[{ ...issuing, state: 'tainted' }, root('active')], true],
    [[{ ...issuing, state: 'revoked' }, root('active')], true],
    [[issuing, root('tainted')], true],
    [[issuing, { ...root('tainted'), id: 'another' }], false],
  ] as readonly (readonly [readonly Authority[], boolean])[]) {
    set(all);
    const now = w.clock.now();
    assert.equal((await read()).end < now, isEarly, all.map(({ state }) => state).join());
  }
});

test('a certificate that is not of ACME, of another issuer, or not ours has no window', async () => {
  const { w, info, id, leaf } = await world();
  await using _ = w;
  const [issuer, serial] = id.split('.') as [string, string];
  const agent = (await w.joinAgent('n1')).svid.leaf;
  const other = `4${leaf.serial[1] === '1' ? '2' : '1'}${leaf.serial.slice(2)}`;
  for (const [text, status] of [
    [`${issuer}.${Buffer.from(other, 'hex').toString('base64url')}`, 404],
    [`${Buffer.alloc(20).toString('base64url')}.${serial}`, 404],
    [certificateIdOf(agent.chainDer[0] as Buffer) as string, 404],
    [`${id}=`, 400],
    [serial, 400],
    ['', 400],
  ] as const)
    assert.equal(await statusOf(info.read(text)), status, text);
  assert.ok(!(await info.isDue(agent.serial)) && !(await info.isDue(other)));
});

test('a certificate that lives shorter than a day has no window', async () => {
  const { w, info, id } = await world('classic', day - 100);
  await using _ = w;
  assert.equal(await statusOf(info.read(id)), 404);
});
