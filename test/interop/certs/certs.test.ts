import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { Certificate } from 'pkijs';
import {
  certificatesToPem,
  keyTypes,
  pemEncode,
  verifyX509Svid,
  type KeyType,
} from '../../../src/common/x509/index.ts';
import { assembleSigned, buildCrlTbs, type LeafProfile } from '../../../src/certs/index.ts';
import { isNamesProfile } from '../../../src/domain/index.ts';
import { signWith } from '../../support/x509.ts';
import {
  authority,
  crlUrl,
  leaf,
  leafId,
  trustDomain,
  type Issued,
  type Times,
} from './support.ts';

const run = promisify(execFile);
const now = Math.floor(Date.now() / 1000);
const day = 86_400;
const leafProfiles: readonly LeafProfile[] = ['short-lived', 'revocable', 'server'];
const namesProfiles: readonly LeafProfile[] = ['short', 'classic', 'hours'];
const toArrayBuffer = (bytes: Buffer): ArrayBuffer => Uint8Array.from(bytes).buffer;

let folder = '';
let files = 0;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'meshca-certs-'));
});
after(() => rm(folder, { recursive: true, force: true }));

async function file(content: string): Promise<string> {
  files += 1;
  const path = join(folder, `${files}.pem`);
  await writeFile(path, content);
  return path;
}

/** certtool takes no time to verify at: for another time than now it is asked what it reads. */
async function gnutls(
  rootFile: string,
  chainFile: string,
  certificate: Issued,
  at: number,
): Promise<void> {
  if (at === now) {
    const { stdout } = await run('certtool', [
      '--verify',
      '--load-ca-certificate',
      rootFile,
      '--infile',
      chainFile,
    ]);
    assert.match(stdout, /Chain verification output: Verified\. The certificate is trusted\./);
    return;
  }
  const { stdout } = await run('certtool', ['--certificate-info', '--infile', chainFile], {
    env: { ...process.env, TZ: 'UTC', LC_ALL: 'C' },
  });
  const [notBefore, notAfter] = [...stdout.matchAll(/Not (?:Before|After): (.*)$/gm)].map(
    (match) => Date.parse(match[1] as string) / 1000,
  );
  assert.deepEqual(
    [notBefore, notAfter],
    [certificate.parsed.notBefore, certificate.parsed.notAfter],
  );
}

/**
 * The chain is held to be good, for both purposes, by OpenSSL in its strict mode, GnuTLS,
 * node:crypto, pkijs and our own verifier. One of names is good for servers alone, and no identity.
 */
// oxlint-disable-next-line test-sizes/function-lines -- one comparison, field by field
async function agreeOn(
  chain: { readonly root: Issued; readonly intermediate: Issued; readonly leaf: Issued },
  profile: LeafProfile,
  at: number = now,
): Promise<void> {
  const { root, intermediate } = chain;
  const certificate = chain.leaf;
  const [rootFile, intermediateFile, leafFile] = await Promise.all(
    [root, intermediate, certificate].map((each) => file(certificatesToPem([each.parsed.raw]))),
  );
  const both = await file(certificatesToPem([certificate.parsed.raw, intermediate.parsed.raw]));
  await Promise.all([
    ...['sslserver', 'sslclient'].map(async (purpose) => {
      const judged = run('openssl', [
        'verify',
        '-x509_strict',
        '-purpose',
        purpose,
        '-attime',
        String(at),
        '-CAfile',
        rootFile!,
        '-untrusted',
        intermediateFile!,
        leafFile!,
      ]);
      if (isNamesProfile(profile) && purpose === 'sslclient')
        await assert.rejects(judged, /unsuitable certificate purpose/);
      else assert.match((await judged).stdout, /: OK\n$/);
    }),
    gnutls(rootFile!, both, certificate, at),
  ]);

  const [nodeLeaf, nodeIntermediate, nodeRoot] = [certificate, intermediate, root].map(
    (each) => new X509Certificate(each.parsed.raw),
  );
  assert.ok(
    nodeLeaf!.verify(nodeIntermediate!.publicKey) && nodeLeaf!.checkIssued(nodeIntermediate!),
  );
  assert.ok(
    nodeIntermediate!.verify(nodeRoot!.publicKey) && nodeIntermediate!.checkIssued(nodeRoot!),
  );
  assert.equal(
    nodeLeaf!.subjectAltName,
    isNamesProfile(profile)
      ? 'DNS:www.shop.example.org, DNS:*.shop.example.org, IP Address:192.0.2.7, ' +
          'IP Address:2001:DB8:0:0:0:0:0:7'
      : `URI:${leafId(profile)}, DNS:cart.shop.example.org`,
  );
  assert.equal(nodeLeaf!.serialNumber.toLowerCase(), certificate.parsed.serialHex);
  assert.equal(nodeLeaf!.validFromDate.getTime() / 1000, certificate.parsed.notBefore);
  assert.equal(nodeLeaf!.validToDate.getTime() / 1000, certificate.parsed.notAfter);
  assert.deepEqual([nodeLeaf!.ca, nodeIntermediate!.ca, nodeRoot!.ca], [false, true, true]);

  const verified = verifyX509Svid({
    chainDer: [certificate.parsed.raw, intermediate.parsed.raw],
    bundle: (name) => (name === trustDomain.name ? [root.parsed.raw] : undefined),
    now: at,
  });
  if (isNamesProfile(profile)) assert.ok(!verified.ok, 'names are no identity');
  else {
    assert.ok(verified.ok, verified.ok ? '' : verified.error.message);
    assert.ok(verified.value.id.equals(leafId(profile)));
  }

  for (const each of [certificate, intermediate, root]) {
    const judged = Certificate.fromBER(toArrayBuffer(each.parsed.raw));
    assert.equal(
      Buffer.from(judged.serialNumber.valueBlock.valueHexView).toString('hex'),
      each.parsed.serialHex,
    );
    assert.equal(judged.notAfter.value.getTime() / 1000, each.parsed.notAfter);
    assert.ok(
      Buffer.from(judged.subjectPublicKeyInfo.toSchema().toBER()).equals(each.parsed.spkiDer),
    );
    assert.deepEqual(
      (judged.extensions ?? []).map((extension) => extension.extnID),
      [...each.parsed.extensionOids],
    );
    assert.deepEqual(
      (judged.extensions ?? [])
        .filter((extension) => extension.critical)
        .map((extension) => extension.extnID),
      [...each.parsed.criticalExtensionOids],
    );
  }
}

const hour: Times = { notBefore: now - 30, notAfter: now + 3600 };
const year: Times = { notBefore: now - 300, notAfter: now + 365 * day };
const century: Times = { notBefore: now - 300, notAfter: Date.UTC(2100, 0, 1) / 1000 };
const authorities = (
  keyType: KeyType,
  intermediateTimes = year,
  rootTimes = century,
  names = false,
): { readonly root: Issued; readonly intermediate: Issued } => {
  const root = authority('root', keyType, undefined, { ...rootTimes, names });
  return {
    root,
    intermediate: authority('intermediate', keyType, root, { ...intermediateTimes, names }),
  };
};

suite('OpenSSL, GnuTLS, node:crypto and pkijs agree', () => {
  for (const issuerType of keyTypes) {
    for (const profile of leafProfiles) {
      test(`on ${profile} leaves of every key type below ${issuerType} authorities`, async () => {
        const above = authorities(issuerType);
        for (const leafType of keyTypes)
          await agreeOn(
            { ...above, leaf: leaf(profile, leafType, above.intermediate, hour) },
            profile,
          );
      });
    }
  }

  for (const issuerType of ['ec-p256', 'rsa-2048'] as const)
    for (const profile of namesProfiles)
      test(`on ${profile} leaves of every key type below ${issuerType} authorities of names`, async () => {
        const above = authorities(issuerType, year, century, true);
        for (const leafType of keyTypes)
          await agreeOn(
            { ...above, leaf: leaf(profile, leafType, above.intermediate, hour) },
            profile,
          );
      });

  test('on chains whose root, intermediate and leaf have different key types', async () => {
    const root = authority('root', 'rsa-3072', undefined, century);
    const intermediate = authority('intermediate', 'ec-p384', root, year);
    await agreeOn(
      { root, intermediate, leaf: leaf('short-lived', 'ec-p256', intermediate, hour) },
      'short-lived',
    );
  });

  test('on leaves that end in the last second of 2049, and that cross into 2050', async () => {
    const end = Date.UTC(2050, 0, 1) / 1000;
    const above = authorities('ec-p256', century);
    for (const [notBefore, notAfter] of [
      [end - 3600, end - 1],
      [end - 3600, end],
      [end - 1800, end + 1800],
      [end, end + 3600],
    ] as const) {
      await agreeOn(
        {
          ...above,
          leaf: leaf('short-lived', 'ec-p256', above.intermediate, { notBefore, notAfter }),
        },
        'short-lived',
        notAfter - 1,
      );
    }
  });

  test('that a leaf is refused outside its validity and below another root', async () => {
    const above = authorities('ec-p256');
    const certificate = leaf('short-lived', 'ec-p256', above.intermediate, hour);
    const other = authority('root', 'ec-p384', undefined, century);
    const pem = (each: Issued): Promise<string> => file(certificatesToPem([each.parsed.raw]));
    const openssl = async (root: Issued, at: number): Promise<unknown> =>
      run('openssl', [
        'verify',
        '-x509_strict',
        '-attime',
        String(at),
        '-CAfile',
        await pem(root),
        '-untrusted',
        await pem(above.intermediate),
        await pem(certificate),
      ]);
    const ours = (root: Issued, at: number): string => {
      const verified = verifyX509Svid({
        chainDer: [certificate.parsed.raw, above.intermediate.parsed.raw],
        bundle: () => [root.parsed.raw],
        now: at,
      });
      return verified.ok ? 'OK' : verified.error.code;
    };
    // OpenSSL takes the last second for expired, RFC 5280 and we do not
    await openssl(above.root, now + 3599);
    assert.equal(ours(above.root, now + 3600), 'OK');
    await assert.rejects(openssl(above.root, now + 3601), /certificate has expired/);
    assert.equal(ours(above.root, now + 3601), 'CERTIFICATE_EXPIRED');
    await assert.rejects(openssl(above.root, now - 31), /not yet valid/);
    assert.equal(ours(above.root, now - 31), 'CERTIFICATE_NOT_YET_VALID');
    await assert.rejects(openssl(other, now), /unable to get/);
    assert.equal(ours(other, now), 'CHAIN_UNTRUSTED');
  });
});

suite('OpenSSL and GnuTLS read our CRLs', () => {
  for (const keyType of ['ec-p256', 'rsa-2048'] as const) {
    test(`signed by ${keyType}, empty or not`, async () => {
      const { root, intermediate } = authorities(keyType);
      const [kept, gone] = [
        leaf('revocable', 'ec-p256', intermediate, hour),
        leaf('revocable', 'ec-p256', intermediate, hour),
      ];
      const crl = (issuer: Issued, serials: readonly string[]): string => {
        const tbs = buildCrlTbs({
          issuer: issuer.parsed,
          number: 7n,
          thisUpdate: now - 60,
          nextUpdate: now + day,
          revoked: serials.map((serialHex) => ({
            serialHex,
            revokedAt: now - 90,
            reason: 'keyCompromise',
          })),
        });
        return pemEncode(
          'X509 CRL',
          assembleSigned(tbs, issuer.key.keyType, signWith(issuer.key, tbs)),
        );
      };
      const crls = await file(crl(root, []) + crl(intermediate, [gone.parsed.serialHex]));
      const cas = await file(certificatesToPem([root.parsed.raw, intermediate.parsed.raw]));
      const check = async (certificate: Issued): Promise<string> =>
        run('openssl', [
          'verify',
          '-x509_strict',
          '-crl_check_all',
          '-CRLfile',
          crls,
          '-CAfile',
          cas,
          await file(certificatesToPem([certificate.parsed.raw])),
        ]).then(
          ({ stdout }) => stdout,
          (error: { stderr: string }) => error.stderr,
        );
      assert.match(await check(kept), /: OK\n$/);
      assert.match(await check(gone), /error 23 /);
      const issuingCrl = await file(crl(intermediate, [gone.parsed.serialHex]));
      const { stdout } = await run('certtool', [
        '--verify-crl',
        '--load-ca-certificate',
        await file(certificatesToPem([intermediate.parsed.raw])),
        '--infile',
        issuingCrl,
      ]);
      assert.match(stdout, /Verified/);
      assert.deepEqual(kept.parsed.crlDistributionPoints, [crlUrl]);
    });
  }
});

suite('OpenSSL goes by the distribution points of leaves and CRLs', () => {
  const { root, intermediate } = authorities('ec-p256');
  const urlOf = (shard: number): string => `http://ca.example.org/crl/1/${shard}.crl`;
  const [inSeven, inEight, short] = [
    leaf('revocable', 'ec-p256', intermediate, { ...hour, url: urlOf(7) }),
    leaf('revocable', 'ec-p256', intermediate, { ...hour, url: urlOf(8) }),
    leaf('short-lived', 'ec-p256', intermediate, hour),
  ];
  const crl = (issuer: Issued, serials: readonly string[], shard = 0, at = now - 60): string => {
    const tbs = buildCrlTbs({
      issuer: issuer.parsed,
      number: 7n,
      thisUpdate: at,
      nextUpdate: now + day,
      revoked: serials.map((serialHex) => ({ serialHex, revokedAt: now - 90 })),
      ...(shard === 0 ? {} : { distributionPoint: urlOf(shard) }),
    });
    return pemEncode('X509 CRL', assembleSigned(tbs, 'ec-p256', signWith(issuer.key, tbs)));
  };
  /** 'OK', or the number of the error. `own`: of the issuer of the leaf. */
  const check = async (certificate: Issued, own: string, options: readonly string[] = []) =>
    run('openssl', [
      ...['verify', '-x509_strict', '-crl_check_all', ...options],
      ...['-CRLfile', await file(crl(root, []) + own)],
      ...['-CAfile', await file(certificatesToPem([root.parsed.raw, intermediate.parsed.raw]))],
      await file(certificatesToPem([certificate.parsed.raw])),
    ]).then(
      () => 'OK',
      (error: { stderr: string }) => /error (\d+) /.exec(error.stderr)?.[1],
    );

  test('the CRL of a shard counts for its leaves alone, among those of other shards too', async () => {
    for (const options of [[], ['-extended_crl']]) {
      const empty = crl(intermediate, [], 7);
      const both = empty + crl(intermediate, [inEight.parsed.serialHex], 8);
      const outcomes = [
        await check(inSeven, empty, options),
        await check(inEight, empty, options),
        await check(inSeven, both, options),
        await check(inEight, both, options),
        await check(inSeven, crl(intermediate, [inSeven.parsed.serialHex], 7), options),
      ];
      assert.deepEqual(outcomes, ['OK', '44', 'OK', '23', '23'], options.join());
    }
  });

  test('a leaf without a distribution point needs a CRL that is complete, which counts for all', async () => {
    const shards = crl(intermediate, [], 7) + crl(intermediate, [], 8);
    assert.notEqual(await check(short, shards), 'OK');
    const complete = crl(intermediate, [inEight.parsed.serialHex]);
    assert.equal(await check(short, complete), 'OK');
    assert.equal(await check(inSeven, complete), 'OK');
    assert.equal(await check(inEight, complete), '23');
    // why a CRL without a distribution point must list the revocations of every shard
    const lacking = crl(intermediate, [], 0, now - 30);
    const listed = crl(intermediate, [inEight.parsed.serialHex], 8);
    assert.equal(await check(inEight, listed + lacking), 'OK');
  });
});
