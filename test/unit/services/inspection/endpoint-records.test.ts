import assert from 'node:assert/strict';
import { sign, type KeyObject } from 'node:crypto';
import { test } from 'node:test';
import { buildLeafTbs, newSerial } from '../../../../src/certs/index.ts';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { systemRandom, uuidv7 } from '../../../../src/common/runtime/index.ts';
import { parseCertificate, sha256Hex, spkiOf } from '../../../../src/common/x509/index.ts';
import { subjectText, type NamesKind, type NamesSubject } from '../../../../src/domain/index.ts';
import { admit, createRecordedIssuance, signerOf } from '../../../../src/issuance/index.ts';
import type { AdminCaller } from '../../../../src/services/index.ts';
import {
  createServicesWorld,
  id,
  local,
  newKey,
  type ServicesWorld,
} from '../../../support/services-world.ts';
import { passThroughPolicy } from '../../../support/pass-through-policy.ts';

/** A certificate of names on record, by the one recorded way. */
async function issued(w: ServicesWorld, kind: NamesKind, ...dnsNames: readonly string[]) {
  const subject: NamesSubject = { kind: 'names', dnsNames, ips: [] };
  const profile = kind === 'endpoint' ? 'short' : kind;
  const caller = { class: 'local', name: 'uid:0' } as const;
  const spkiDer = spkiOf(newKey());
  const expected = {
    serial: newSerial(w.clock.nowMs(), systemRandom),
    issuer: unwrap(parseCertificate(w.issuing.certificateDer as Buffer)),
    spkiDer,
    subject,
    notBefore: w.clock.now() - 30,
    notAfter: w.clock.now() + 3600,
  };
  const about = {
    profile,
    kind,
    entryId: null,
    delegationId: null,
  } as const;
  const recorded = createRecordedIssuance({
    store: w.store.issuance,
    quotas: w.store.quotas,
    blockedKeys: w.store.blockedKeys,
    clock: w.clock,
  });
  const prepared = unwrap(
    recorded.prepare({
      tbsDer: buildLeafTbs({ ...expected, profile }),
      profile,
      expected,
      admission: unwrap(
        admit(
          passThroughPolicy,
          { ...about, type: 'x509', subject, keyType: 'ec-p256', ttlSeconds: 3600 },
          caller,
        ),
      ),
      signer: signerOf(w.issuing),
      record: {
        ...about,
        requester: caller.name,
        holder: caller.name,
        publicKeySha256: sha256Hex(spkiDer),
        requestId: uuidv7(),
        replaces: null,
      },
      rights: [],
      shard: 0,
      issuedAs: { kind: 'certificate.issued', subject: subjectText(subject), detail: {} },
    }),
  );
  const key = w.remains.keys.get(w.issuing.id) as KeyObject;
  const [outcome] = await recorded.run([prepared], {
    sign: async (items) =>
      items.map(({ bytes }) => ({ ok: true, signature: sign('sha256', bytes, key) })),
  });
  assert.ok(outcome?.ok);
  return { serial: prepared.intent.serial, chainDer: [outcome.certificateDer] };
}

test('the certificate of an endpoint is on record under its name, and admitted as no caller', async () => {
  await using w = await createServicesWorld();
  const certificate = await issued(w, 'endpoint', 'www.shop.test', 'shop.test');
  const record = await w.services.certificates.get(local, certificate.serial);
  assert.deepEqual(
    [record.kind, record.profile, record.spiffeId, record.state],
    ['endpoint', 'short', 'dns:www.shop.test', 'issued'],
  );
  await assert.rejects(w.callerOf(certificate), { code: 'CALLER_NOT_ADMITTED' });
});

test('a role with a DNS scope sees the names inside it, and no identity', async () => {
  await using w = await createServicesWorld();
  const inside = await issued(w, 'endpoint', 'www.shop.test');
  const proxy = await issued(w, 'linkerd', 'web.shop.test');
  const outside = await issued(w, 'endpoint', 'www.shop.test', 'www.other.test');
  const identity = await w.mint('/web', false);
  const admin = (await w.mint('/team/anna', true)) as AdminCaller;
  await w.services.roles.put(local, {
    name: 'shop',
    verbs: ['certificate.read'],
    prefixes: ['dns:.shop.test'],
    members: [id('/team/anna')],
  });
  const { items } = await w.services.certificates.list(admin, {}, 'created', { size: 100 });
  assert.deepEqual(
    items.map(({ serial }) => serial),
    [inside.serial, proxy.serial],
  );
  for (const serial of [outside.serial, identity.serial])
    await assert.rejects(w.services.certificates.get(admin, serial), { code: 'NOT_FOUND' });
  const all = await w.services.certificates.list(local, { kind: 'endpoint' }, 'created', {
    size: 100,
  });
  assert.equal(all.items.length, 2);
});

test('the certificate of a Linkerd proxy is on record, admitted as no caller, and not revocable', async () => {
  await using w = await createServicesWorld();
  const name = 'web.shop.serviceaccount.identity.linkerd.cluster.local';
  const certificate = await issued(w, 'linkerd', name);
  const filter = { kind: 'linkerd' } as const;
  const { items } = await w.services.certificates.list(local, filter, 'created', { size: 10 });
  assert.deepEqual(
    items.map(({ kind, profile, spiffeId, state }) => [kind, profile, spiffeId, state]),
    [['linkerd', 'linkerd', `dns:${name}`, 'issued']],
  );
  await assert.rejects(w.callerOf(certificate), { code: 'CALLER_NOT_ADMITTED' });
  const { serial } = certificate;
  const { note } = await w.services.revocations.revoke(local, { serial, reason: '' });
  assert.match(note, /on no CRL.*service account/);
  assert.ok(w.store.revocations.revoked(serial));
});
