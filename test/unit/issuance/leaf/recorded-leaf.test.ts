import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';
import { createCsr } from '../../../../src/common/x509/index.ts';
import {
  spiffeSubject,
  type CertificateRecord,
  type Intent,
} from '../../../../src/domain/index.ts';
import type { LeafRequest } from '../../../../src/issuance/index.ts';
import { world, request } from './leaf-support.ts';

const otherKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

test('whoever shares the answer of a caller that goes still gets a certificate', async () => {
  const w = world();
  const shared = request();
  const caller = new AbortController();
  const first = w.issuer.issue([{ ...shared, signal: caller.signal }]);
  const second = w.issuer.issue([shared]);
  caller.abort();
  const [[one], [other]] = await Promise.all([first, second]);
  assert.ok(one?.ok && other?.ok && one.leaf.serial === other.leaf.serial);
  assert.equal(w.intents.length, 1);
});

test('the same request sent twice at once, in one call or in two, is signed once', async () => {
  const w = world();
  const twice = request();
  const results = (
    await Promise.all([w.issuer.issue([twice, twice]), w.issuer.issue([twice])])
  ).flat();
  assert.equal(w.intents.length, 1);
  assert.equal(
    new Set(results.map((result) => (result.ok ? result.leaf.serial : 'refused'))).size,
    1,
  );
});

test('a repeated request gets the recorded certificate, unless the record is of another identity', async () => {
  const first = world();
  const lost = request();
  const [answer] = await first.issuer.issue([lost]);
  assert.ok(answer?.ok);
  const intent = first.intents[0] as Intent;
  const record: CertificateRecord = {
    ...intent,
    sequence: 1,
    state: 'issued',
    stateReason: null,
    sha256: 'x',
    replacedBy: null,
    replacementConfirmedAt: null,
    certificateDer: answer.leaf.chainDer[0] as Buffer,
  };
  const again = world();
  again.recorded = record;
  const [repeated] = await again.issuer.issue([lost]);
  assert.ok(repeated?.ok && repeated.leaf.serial === answer.leaf.serial);
  assert.equal(again.intents.length, 0);
  const [other] = await again.issuer.issue([
    { ...lost, subject: spiffeSubject(SpiffeId.of('spiffe://mesh.test/other')) },
  ]);
  assert.ok(other?.ok && other.leaf.serial !== answer.leaf.serial);
  const [renamed] = await again.issuer.issue([
    { ...lost, subject: spiffeSubject(SpiffeId.of('spiffe://mesh.test/web'), ['db.mesh.test']) },
  ]);
  assert.ok(renamed?.ok && renamed.leaf.serial !== answer.leaf.serial, 'other DNS names');
  const [fresh] = await again.issuer.issue([{ ...lost, isNew: true }]);
  assert.ok(fresh?.ok && fresh.leaf.serial !== answer.leaf.serial, 'its ID was made for it');
  const [, found] = await again.issuer.issue([{ ...lost, requestId: uuidv7(), isNew: true }, lost]);
  assert.ok(found?.ok && found.leaf.serial === answer.leaf.serial, 'beside a new one as well');
});

test('a recorded certificate answers no request where its row was altered', async () => {
  const issuedFor = async (asked: LeafRequest): Promise<CertificateRecord> => {
    const w = world();
    const [answer] = await w.issuer.issue([asked]);
    assert.ok(answer?.ok);
    return {
      ...(w.intents[0] as Intent),
      ...{ sequence: 1, state: 'issued', stateReason: null, sha256: 'x', replacedBy: null },
      ...{ replacementConfirmedAt: null, certificateDer: answer.leaf.chainDer[0] as Buffer },
    };
  };
  const asked = request();
  const own = await issuedFor(asked);
  const der = own.certificateDer as Buffer;
  const ofAnotherKey = await issuedFor({ ...asked, csrDer: createCsr(otherKey) });
  const forged = Buffer.from(der);
  forged[forged.length - 1] = (forged.at(-1) as number) ^ 1;
  const altered: readonly Partial<CertificateRecord>[] = [
    { certificateDer: ofAnotherKey.certificateDer, serial: ofAnotherKey.serial },
    { certificateDer: (await issuedFor(request())).certificateDer },
    { certificateDer: forged },
    { notAfter: own.notAfter + 60 },
    { serial: ofAnotherKey.serial },
  ];
  const w = world();
  w.recorded = own;
  const [same] = await w.issuer.issue([asked]);
  assert.ok(same?.ok && same.leaf.serial === own.serial);
  for (const [index, change] of altered.entries()) {
    w.recorded = { ...own, ...change };
    const [result] = await w.issuer.issue([asked]);
    assert.ok(result?.ok && result.leaf.serial !== w.recorded.serial, `altered ${index}`);
    assert.equal(w.intents.length, index + 1);
  }
});
