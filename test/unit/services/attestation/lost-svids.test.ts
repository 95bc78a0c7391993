import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { systemClock } from '../../../../src/common/runtime/index.ts';
import { TrustDomain } from '../../../../src/common/spiffe/index.ts';
import { parseCertificate } from '../../../../src/common/x509/index.ts';
import { lineFrom, type AgentLine } from '../../../../src/domain/index.ts';
import type { AcceptedRestore } from '../../../../src/ledger/index.ts';
import {
  LostSvids,
  type LostSvidsDependencies,
} from '../../../../src/services/attestation/lost-svids.ts';
import {
  createIntermediate,
  createRoot,
  createSvid,
  type CertificateOptions,
  type TestAuthority,
} from '../../../support/test-pki.ts';

const spiffeId = 'spiffe://mesh.test/meshca/agent/join-token/n1';
const root = createRoot('mesh.test');
const issuing = createIntermediate(root, 'mesh.test');
const hour = 3_600_000;

/** A restore that was accepted a minute ago, and gave up the hour before. */
const restored = (nowMs: number): AcceptedRestore => ({
  acceptedMs: nowMs - 60_000,
  lostFromMs: nowMs - hour,
});

interface World {
  readonly restores?: (nowMs: number) => readonly AcceptedRestore[];
  readonly state?: string;
  /** When the SVID in use was issued, seconds from now; undefined: it is not on record. */
  readonly inUseIn?: number | undefined;
}

function lostSvids(world: World = {}): LostSvids {
  // as late as the certificates, whose times count from when they are made
  const nowMs = Date.now();
  const { restores = (now: number) => [restored(now)], state = 'active' } = world;
  const inUseIn = 'inUseIn' in world ? world.inUseIn : -2 * 3600;
  const subjectKeyId = unwrap(parseCertificate(issuing.certificateDer)).subjectKeyId;
  return new LostSvids({
    objects: { restores: () => restores(nowMs) },
    authorities: {
      all: () => [{ id: 'i', kind: 'issuing', state, subjectKeyId }],
      chainDer: () => [issuing.certificateDer],
      rootsDer: () => [root.certificateDer],
    },
    certificates: {
      bySerial: () =>
        Promise.resolve(
          inUseIn === undefined ? undefined : { notBefore: Math.floor(nowMs / 1000) + inUseIn },
        ),
    },
    inventory: { require: () => Promise.resolve() },
    clock: systemClock,
    settings: { trustDomain: TrustDomain.of('mesh.test') },
  } as unknown as LostSvidsDependencies);
}

const lost: CertificateOptions = { notBeforeIn: -1_800, notAfterIn: 1_800 };
const before: AgentLine = { ...lineFrom({ spiffeId, serial: 'aa' }), inUse: 'aa' };

async function find(
  world: World,
  {
    issuer = issuing,
    id = spiffeId,
    options = lost,
  }: {
    readonly issuer?: TestAuthority;
    readonly id?: string;
    readonly options?: CertificateOptions;
  } = {},
): Promise<'counts' | 'superseded' | 'none'> {
  const certificateDer = createSvid(issuer, id, options).chainDer[0] as Buffer;
  const serial = unwrap(parseCertificate(certificateDer)).serialHex;
  const svid = await lostSvids(world).find({ spiffeId } as never, before, {
    serial,
    certificateDer,
  });
  return svid === undefined ? 'none' : svid.counts ? 'counts' : 'superseded';
}

test('an SVID of a time that an accepted restore gave up counts', async () => {
  assert.equal(await find({}), 'counts');
  assert.equal(await find({}, { options: { notBeforeIn: -1_800, notAfterIn: -60 } }), 'counts');
});

test('a deleted row proves nothing where no restore was accepted, or its record states no lost time', async () => {
  assert.equal(await find({ restores: () => [] }), 'none');
  const nothingLost = (nowMs: number) => [{ acceptedMs: nowMs, lostFromMs: nowMs }];
  assert.equal(await find({ restores: nothingLost }), 'none');
});

test('an SVID from before the lost time or after its acceptance does not count', async () => {
  assert.equal(await find({}, { options: { notBeforeIn: -3_700, notAfterIn: 60 } }), 'none');
  assert.equal(await find({}, { options: { notBeforeIn: -10, notAfterIn: 60 } }), 'none');
});

test('an SVID of another signer, another agent, or an authority that is not trusted does not count', async () => {
  const below = createIntermediate(root, 'mesh.test');
  assert.equal(await find({}, { issuer: below }), 'none');
  assert.equal(await find({}, { issuer: createRoot('mesh.test') }), 'none');
  assert.equal(await find({}, { id: `${spiffeId}2` }), 'none');
  assert.equal(await find({ state: 'revoked' }), 'none');
});

test('one whose agent uses a later SVID, or another lost one, counts no more', async () => {
  assert.equal(await find({ inUseIn: -5 }), 'superseded');
  assert.equal(await find({ inUseIn: undefined }), 'superseded');
});

test('a serial that is not that of the certificate is refused, and so is damage', async () => {
  const certificateDer = createSvid(issuing, spiffeId, lost).chainDer[0] as Buffer;
  const of = (serial: string, der: Buffer) =>
    lostSvids().find({ spiffeId } as never, before, { serial, certificateDer: der });
  assert.equal(await of('aa', certificateDer), undefined);
  const { serialHex } = unwrap(parseCertificate(certificateDer));
  assert.equal(await of(serialHex, Buffer.alloc(20_000)), undefined);
  assert.equal(await of(serialHex, certificateDer.subarray(0, 40)), undefined);
});
