import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { suite, test } from 'node:test';
import { buildCrlTbs, lintCrl } from '../../../../src/certs/index.ts';
import { crlIsDue } from '../../../../src/domain/index.ts';
import {
  derWriter as w,
  parseCertificate,
  parseCrl,
  pemDecode,
  parseTbsCrl,
  verifyX509Svid,
  type ParsedCrl,
} from '../../../../src/common/x509/index.ts';
import { unwrap } from '../../../../src/common/errors/index.ts';
import {
  createIntermediate,
  createRoot,
  createSvid,
  type TestAuthority,
} from '../../../support/test-pki.ts';
import { fixture } from '../../../support/fixtures.ts';

const now = Math.floor(Date.now() / 1000);
const algorithm = w.sequence(w.oid('1.2.840.10045.4.3.2'));
const sealed = (tbs: Buffer, issuer: TestAuthority): Buffer =>
  w.sequence(tbs, algorithm, w.bitString(sign('sha256', tbs, issuer.privateKey)));

interface Wanted {
  readonly revoked?: readonly string[];
  readonly thisUpdate?: number;
  readonly nextUpdate?: number;
  readonly signer?: TestAuthority;
  readonly number?: bigint;
}
const crlOf = (
  issuer: TestAuthority,
  {
    revoked = [],
    thisUpdate = now - 60,
    nextUpdate = now + 600,
    signer = issuer,
    number = 7n,
  }: Wanted = {},
): Buffer =>
  sealed(
    buildCrlTbs({
      issuer: unwrap(parseCertificate(issuer.certificateDer)),
      number,
      thisUpdate,
      nextUpdate,
      revoked: revoked.map((serialHex) => ({
        serialHex,
        revokedAt: thisUpdate - 10,
        reason: 'keyCompromise' as const,
      })),
    }),
    signer,
  );

const root = createRoot('td.test');
const issuer = createIntermediate(root, 'td.test');
const leaf = createSvid(issuer, 'spiffe://td.test/web');
const serialOf = (der: Buffer | undefined): string =>
  unwrap(parseCertificate(der as Buffer)).serialHex;
const verdict = (crls: readonly Buffer[], at = now): string => {
  const verified = verifyX509Svid({
    chainDer: leaf.chainDer,
    bundle: () => [root.certificateDer],
    now: at,
    crls: () => crls.map((der) => unwrap(parseCrl(der))),
  });
  return verified.ok ? 'ok' : verified.error.code;
};

suite('a chain is held against CRLs', () => {
  test('with a current CRL of every level it passes, and without CRLs nothing is looked at', () => {
    assert.equal(verdict([crlOf(root), crlOf(issuer)]), 'ok');
    assert.equal(
      verifyX509Svid({
        chainDer: leaf.chainDer,
        bundle: () => [root.certificateDer],
        now,
        crls: () => undefined,
      }).ok,
      true,
    );
  });

  test('a revoked leaf and a leaf below a revoked intermediate are refused', () => {
    assert.equal(
      verdict([crlOf(root), crlOf(issuer, { revoked: [serialOf(leaf.chainDer[0])] })]),
      'CERTIFICATE_REVOKED',
    );
    assert.equal(
      verdict([crlOf(root, { revoked: [serialOf(issuer.certificateDer)] }), crlOf(issuer)]),
      'CERTIFICATE_REVOKED',
    );
    assert.equal(
      verdict([crlOf(root, { revoked: [serialOf(leaf.chainDer[0])] }), crlOf(issuer)]),
      'ok',
      'a serial counts in the CRL of its own issuer alone',
    );
  });

  test('a missing, expired, future or foreign CRL of any level refuses the chain', () => {
    assert.equal(verdict([]), 'REVOCATION_UNKNOWN');
    assert.equal(verdict([crlOf(issuer)]), 'REVOCATION_UNKNOWN');
    assert.equal(verdict([crlOf(root)]), 'REVOCATION_UNKNOWN');
    assert.equal(
      verdict([crlOf(root), crlOf(issuer, { thisUpdate: now - 100, nextUpdate: now - 1 })]),
      'REVOCATION_UNKNOWN',
    );
    assert.equal(
      verdict([crlOf(root), crlOf(issuer, { thisUpdate: now + 10 })]),
      'REVOCATION_UNKNOWN',
    );
    assert.equal(verdict([crlOf(root), crlOf(issuer, { signer: root })]), 'REVOCATION_UNKNOWN');
    assert.equal(
      verdict([
        crlOf(root),
        crlOf(issuer, { signer: root }),
        crlOf(issuer, { revoked: [serialOf(leaf.chainDer[0])] }),
      ]),
      'CERTIFICATE_REVOKED',
      'a forged empty one does not hide the real one',
    );
  });
});

test('of the valid CRLs under one key the highest number counts, and revoked in either is revoked', () => {
  const revoked = [serialOf(leaf.chainDer[0])];
  const older = crlOf(issuer, { number: 7n, thisUpdate: now - 60 });
  const newer = crlOf(issuer, { number: 8n, thisUpdate: now - 30, revoked });
  for (const crls of [
    [older, newer],
    [newer, older],
  ])
    assert.equal(verdict([crlOf(root), ...crls]), 'CERTIFICATE_REVOKED');
  // it was taken off the list
  const off = crlOf(issuer, { number: 9n, thisUpdate: now - 20 });
  for (const crls of [
    [newer, off],
    [off, newer],
  ])
    assert.equal(verdict([crlOf(root), ...crls]), 'ok');
  // number and date disagree: whoever numbers them has lost count
  const lower = crlOf(issuer, { number: 6n, thisUpdate: now - 10, revoked });
  const early = crlOf(issuer, { number: 10n, thisUpdate: now - 90, revoked });
  for (const odd of [lower, early])
    for (const crls of [
      [off, odd],
      [odd, off],
    ])
      assert.equal(verdict([crlOf(root), ...crls]), 'CERTIFICATE_REVOKED');
});

test('a CRL of 70,000 entries is built and read, and no entry is later than the CRL', () => {
  const meant = {
    issuer: unwrap(parseCertificate(issuer.certificateDer)),
    number: 7n,
    thisUpdate: now - 30,
    nextUpdate: now + 600,
    revoked: Array.from({ length: 70_000 }, (_, index) => ({
      serialHex: (0x40_00_00_00 + index).toString(16),
      revokedAt: now - 30,
    })),
  };
  const tbs = buildCrlTbs(meant);
  assert.equal(unwrap(parseTbsCrl(tbs)).revoked.size, 70_000);
  assert.equal(lintCrl(tbs, meant).ok, true);
  const late = { ...meant, revoked: [{ serialHex: '0a', revokedAt: now - 29 }] };
  assert.throws(() => buildCrlTbs(late), { code: 'LINT_FAILED' });
  // as published before: NSS passes the revoked leaf until its clock is there
  const published = unwrap(
    parseCrl(
      unwrap(pemDecode(fixture('crl/crl-revocation-after-thisupdate.pem').toString()))[0]
        ?.der as Buffer,
    ),
  );
  for (const { revokedAt } of published.revoked.values())
    assert.ok(revokedAt > published.thisUpdate);
});

suite('the reader of CRLs', () => {
  const parsed: ParsedCrl = unwrap(parseCrl(crlOf(issuer, { revoked: ['0a', 'ff01'] })));

  test('reads what the builder wrote', () => {
    assert.deepEqual(
      [
        [...parsed.revoked.keys()],
        parsed.number,
        parsed.thisUpdate,
        parsed.nextUpdate,
        parsed.revoked.get('0a')?.reasonCode,
      ],
      [['0a', 'ff01'], 7n, now - 60, now + 600, 1],
    );
  });

  test('refuses every truncation and every trailing byte', () => {
    const der = crlOf(issuer, { revoked: ['0a'] });
    for (let length = 0; length < der.length; length += 1)
      assert.equal(parseCrl(der.subarray(0, length)).ok, false);
    assert.equal(parseCrl(Buffer.concat([der, Buffer.from([0])])).ok, false);
  });

  test('refuses delta CRLs, critical extensions, missing nextUpdate, number or AKI, and other versions', () => {
    const name = unwrap(parseCertificate(issuer.certificateDer)).subjectDer;
    const time = (seconds: number): Buffer =>
      w.der(
        0x17,
        Buffer.from(
          `${new Date(seconds * 1000).toISOString().replace(/[-:T]/g, '').slice(2, 14)}Z`,
          'latin1',
        ),
      );
    const extension = (oid: string, critical: boolean, value: Buffer): Buffer =>
      w.sequence(w.oid(oid), ...(critical ? [w.derTrue()] : []), w.octetString(value));
    const aki = extension('2.5.29.35', false, w.sequence(w.contextPrimitive(0, issuer.keyId)));
    const number = extension('2.5.29.20', false, w.integer(7));
    const tbs = (parts: { version?: Buffer[]; next?: Buffer[]; extensions?: Buffer[] }): Buffer =>
      w.sequence(
        ...(parts.version ?? [w.integer(1)]),
        algorithm,
        name,
        time(now),
        ...(parts.next ?? [time(now + 60)]),
        w.context(0, w.sequence(...(parts.extensions ?? [aki, number]))),
      );
    assert.equal(parseTbsCrl(tbs({})).ok, true);
    for (const bad of [
      tbs({ version: [] }),
      tbs({ version: [w.integer(0)] }),
      tbs({ next: [] }),
      tbs({ extensions: [aki] }),
      tbs({ extensions: [number] }),
      tbs({ extensions: [aki, number, number] }),
      tbs({ extensions: [aki, number, extension('2.5.29.27', true, w.integer(1))] }),
      tbs({ extensions: [aki, number, extension('2.5.29.28', true, w.sequence())] }),
      // an issuer that forgot to mark them critical has made no complete CRL all the same
      tbs({ extensions: [aki, number, extension('2.5.29.27', false, w.integer(1))] }),
      tbs({ extensions: [aki, number, extension('2.5.29.28', false, w.sequence())] }),
    ])
      assert.equal(parseTbsCrl(bad).ok, false);
  });

  test('survives random damage without an exception', () => {
    const der = crlOf(issuer, { revoked: ['0a', '0b'] });
    for (let at = 0; at < der.length; at += 1) {
      for (const flip of [0x01, 0x80, 0xff]) {
        const damaged = Buffer.from(der);
        damaged[at] = (damaged[at] as number) ^ flip;
        parseCrl(damaged);
      }
    }
  });
});

test('the lint finds each difference between a CRL and what it is meant to say', () => {
  const meant = {
    issuer: unwrap(parseCertificate(issuer.certificateDer)),
    number: 7n,
    thisUpdate: now - 30,
    nextUpdate: now + 600,
    revoked: [{ serialHex: '0a', revokedAt: now - 35 }],
  };
  const tbs = buildCrlTbs(meant);
  assert.equal(lintCrl(tbs, meant).ok, true);
  for (const other of [
    { issuer: unwrap(parseCertificate(root.certificateDer)) },
    { number: 8n },
    { thisUpdate: now - 31 },
    { nextUpdate: now + 601 },
    { revoked: [] },
    { revoked: [{ serialHex: '0b', revokedAt: now - 35 }] },
    { revoked: [{ serialHex: '0a', revokedAt: now - 36 }] },
  ])
    assert.equal(lintCrl(tbs, { ...meant, ...other }).ok, false);
  const long = { ...meant, nextUpdate: meant.issuer.notAfter + 1 };
  assert.equal(lintCrl(buildCrlTbs(long), long).ok, false, 'beyond the life of its issuer');
  const byLeaf = { ...meant, issuer: unwrap(parseCertificate(leaf.chainDer[0] as Buffer)) };
  assert.equal(lintCrl(tbs, byLeaf).ok, false);
});

test('a CRL is due when there is none, at half of its life, after a revocation, and before it begins', () => {
  const base = {
    stored: { thisUpdate: now, nextUpdate: now + 1000 },
    unlisted: false,
    lifeSeconds: 1000,
    notAfter: now + 1_000_000,
    now,
  };
  assert.equal(crlIsDue(base), false);
  assert.equal(crlIsDue({ ...base, stored: undefined }), true);
  assert.equal(crlIsDue({ ...base, unlisted: true }), true);
  assert.equal(crlIsDue({ ...base, now: now - 1 }), true, 'it begins later than now');
  assert.equal(crlIsDue({ ...base, now: now + 499 }), false);
  assert.equal(crlIsDue({ ...base, now: now + 500 }), true);
  assert.equal(
    crlIsDue({ ...base, notAfter: now + 1000, now: now + 900 }),
    false,
    'it reaches to the end of its authority already',
  );
});
