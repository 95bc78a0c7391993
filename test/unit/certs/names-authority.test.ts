import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../src/common/errors/index.ts';
import { TrustDomain } from '../../../src/common/spiffe/index.ts';
import { parseCertificate, type ParsedCertificate } from '../../../src/common/x509/index.ts';
import {
  assembleSigned,
  authorityIdentity,
  buildAuthorityTbs,
  lint,
  readTwice,
  type AuthorityProfile,
} from '../../../src/certs/index.ts';
import { day, makeKey, now, signWith, type TestKey } from '../../support/x509.ts';

const trustDomain = TrustDomain.of('example.org');
const serial = Buffer.from('4123456789ab00112233445566778899', 'hex');
const serverAuth = '1.3.6.1.5.5.7.3.1';

interface Made {
  readonly key: TestKey;
  readonly certificate: ParsedCertificate;
}

function drafted(
  profile: AuthorityProfile,
  key: TestKey,
  { issuer, subject, names }: { issuer?: Made; subject?: Made; names: boolean },
) {
  const input = {
    issuer: issuer?.certificate,
    spkiDer: key.spkiDer,
    notBefore: now - 300,
    notAfter: now + 365 * day,
    names,
    ...(subject === undefined
      ? {}
      : { subjectDer: subject.certificate.subjectDer, subjectMarked: false }),
  };
  return {
    tbs: buildAuthorityTbs({ ...input, serial, profile, trustDomain }),
    context: { ...input, subject: authorityIdentity(trustDomain) },
  };
}

async function make(
  profile: AuthorityProfile,
  over: { issuer?: Made; subject?: Made; names?: boolean; key?: TestKey } = {},
): Promise<Made> {
  const key = over.key ?? makeKey();
  const { tbs, context } = drafted(profile, key, { names: true, ...over });
  unwrap(lint(tbs, profile, context));
  unwrap(await readTwice(tbs));
  const signer = over.issuer?.key ?? key;
  const der = assembleSigned(tbs, signer.keyType, signWith(signer, tbs));
  return { key, certificate: unwrap(parseCertificate(der)) };
}

test('an authority of names has no SPIFFE ID and no mark, and certifies servers alone', async () => {
  const root = await make('root');
  const issuing = await make('intermediate', { issuer: root });
  const next = await make('root');
  const cross = await make('cross', { issuer: root, subject: next, key: next.key });
  for (const [{ certificate }, name, purposes] of [
    [root, 'example.org names root CA', undefined],
    [issuing, 'example.org names issuing CA', [serverAuth]],
    [cross, 'example.org names root CA', undefined],
  ] as const) {
    assert.ok(certificate.subjectDer.includes(Buffer.from(name)), name);
    assert.deepEqual(certificate.uriSans, []);
    assert.equal(certificate.serverAuthority, false);
    assert.deepEqual(certificate.extendedKeyUsage, purposes);
  }
  assert.ok(cross.certificate.subjectDer.equals(next.certificate.subjectDer));
});

test('lint refuses an authority of the mesh where one of names is meant, and the other way round', async () => {
  const root = await make('root');
  for (const profile of ['root', 'intermediate'] as const)
    for (const names of [true, false]) {
      const issuer = profile === 'root' ? {} : { issuer: root };
      const { tbs, context } = drafted(profile, makeKey(), { ...issuer, names });
      assert.ok(lint(tbs, profile, context).ok);
      assert.equal(lint(tbs, profile, { ...context, names: !names }).ok, false);
    }
});
