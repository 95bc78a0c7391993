import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { verify, webcrypto } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { promisify } from 'node:util';
import * as asn1js from 'asn1js';
import {
  Attribute,
  AttributeTypeAndValue,
  CertificationRequest,
  CryptoEngine,
  Extension,
  Extensions,
  GeneralName,
  GeneralNames,
  setEngine,
} from 'pkijs';
import { createPublicKey } from 'node:crypto';
import { unwrap } from '../../../src/common/errors/index.ts';
import {
  createCsr,
  hashOf,
  keyTypes,
  pemDecode,
  pemEncode,
  pkcs8Of,
  type KeyType,
} from '../../../src/common/x509/index.ts';
import { parseCsr, type ParsedCsr } from '../../../src/certs/index.ts';
import { keyFor } from './support.ts';

const run = promisify(execFile);
const uri = 'spiffe://example.org/ns/shop/sa/cart';
const dns = 'cart.shop.example.org';
const toArrayBuffer = (bytes: Buffer): ArrayBuffer => Uint8Array.from(bytes).buffer;

let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'meshca-csr-'));
  setEngine('node', new CryptoEngine({ name: 'node', crypto: webcrypto as never }));
});
after(() => rm(folder, { recursive: true, force: true }));

/**
 * pkijs judges: what it reads of the request is what we read, and the proof verifies for it and for
 * node:crypto.
 */
async function judge(der: Buffer): Promise<ParsedCsr> {
  const ours = unwrap(parseCsr(der));
  const theirs = CertificationRequest.fromBER(toArrayBuffer(der));
  assert.ok(Buffer.from(theirs.subjectPublicKeyInfo.toSchema().toBER()).equals(ours.spkiDer));
  assert.ok(Buffer.from(theirs.subject.toSchema().toBER()).equals(ours.subjectDer));
  assert.ok(Buffer.from(theirs.tbsView).equals(ours.proof.signedBytes));
  const request = theirs.attributes?.find(
    (attribute) => attribute.type === '1.2.840.113549.1.9.14',
  );
  const names =
    request === undefined
      ? []
      : new Extensions({ schema: request.values[0] }).extensions
          .filter((extension) => extension.extnID === '2.5.29.17')
          .flatMap((extension) => (extension.parsedValue as { altNames: GeneralName[] }).altNames);
  assert.deepEqual(
    names.filter((name) => name.type === 6).map((name) => name.value),
    [...ours.uriSans],
  );
  assert.deepEqual(
    names.filter((name) => name.type === 2).map((name) => name.value),
    [...ours.dnsSans],
  );
  assert.equal(
    names.filter((name) => name.type !== 2 && name.type !== 6).length,
    ours.otherSanKinds.length,
  );
  const publicKey = createPublicKey({ key: ours.spkiDer, format: 'der', type: 'spki' });
  assert.ok(
    verify(hashOf(ours.proof.algorithm), ours.proof.signedBytes, publicKey, ours.proof.signature),
  );
  return ours;
}

async function opensslCsr(keyType: KeyType, ...options: readonly string[]): Promise<Buffer> {
  const keyFile = join(folder, `${keyType}.pem`);
  await writeFile(keyFile, pemEncode('PRIVATE KEY', pkcs8Of(keyFor('leaf', keyType).privateKey)), {
    mode: 0o600,
  });
  const out = join(folder, `${keyType}.csr`);
  await run('openssl', [
    'req',
    '-new',
    '-key',
    keyFile,
    '-outform',
    'DER',
    '-out',
    out,
    ...options,
  ]);
  return readFile(out);
}

async function pkijsCsr(keyType: 'ec-p256' | 'ec-p384' | 'rsa-2048'): Promise<Buffer> {
  const hash = keyType === 'ec-p384' ? 'SHA-384' : 'SHA-256';
  const algorithm =
    keyType === 'rsa-2048'
      ? {
          name: 'RSASSA-PKCS1-v1_5',
          modulusLength: 2048,
          publicExponent: new Uint8Array([1, 0, 1]),
          hash,
        }
      : { name: 'ECDSA', namedCurve: keyType === 'ec-p256' ? 'P-256' : 'P-384' };
  const pair = (await webcrypto.subtle.generateKey(algorithm, true, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair;
  const request = new CertificationRequest();
  request.subject.typesAndValues.push(
    new AttributeTypeAndValue({ type: '2.5.4.3', value: new asn1js.Utf8String({ value: 'cart' }) }),
  );
  await request.subjectPublicKeyInfo.importKey(pair.publicKey as never);
  const san = new GeneralNames({
    names: [new GeneralName({ type: 6, value: uri }), new GeneralName({ type: 2, value: dns })],
  });
  const extensions = new Extensions({
    extensions: [
      new Extension({
        extnID: '2.5.29.17',
        critical: false,
        extnValue: san.toSchema().toBER(false),
      }),
    ],
  });
  request.attributes = [
    new Attribute({ type: '1.2.840.113549.1.9.14', values: [extensions.toSchema()] }),
  ];
  await request.sign(pair.privateKey as never, hash);
  return Buffer.from(request.toSchema(true).toBER(false));
}

suite('CSRs of others read as their makers meant them', () => {
  for (const keyType of keyTypes) {
    test(`from OpenSSL with ${keyType}`, async () => {
      const plain = await judge(await opensslCsr(keyType, '-subj', '/'));
      assert.deepEqual([plain.keyType, plain.subjectIsEmpty, plain.uriSans], [keyType, true, []]);
      const named = await judge(
        await opensslCsr(
          keyType,
          '-subj',
          '/O=shop/CN=cart',
          '-addext',
          `subjectAltName=URI:${uri},DNS:${dns},IP:10.0.0.1,email:a@example.org,otherName:1.2.3;UTF8:x`,
          '-addext',
          'keyUsage=critical,digitalSignature',
          '-addext',
          'basicConstraints=CA:FALSE',
        ),
      );
      assert.deepEqual(
        [named.subjectIsEmpty, named.uriSans, named.dnsSans, named.otherSanKinds],
        [false, [uri], [dns], ['iPAddress', 'rfc822Name', 'otherName']],
      );
    });
  }

  for (const keyType of ['ec-p256', 'ec-p384', 'rsa-2048'] as const) {
    test(`from pkijs with ${keyType}`, async () => {
      const csr = await judge(await pkijsCsr(keyType));
      assert.deepEqual([csr.keyType, csr.uriSans, csr.dnsSans], [keyType, [uri], [dns]]);
    });
  }

  test('from GnuTLS certtool', async () => {
    const keyFile = join(folder, 'gnutls-key.pem');
    const template = join(folder, 'template.cfg');
    await run('certtool', [
      '--generate-privkey',
      '--key-type=ecdsa',
      '--curve=secp256r1',
      '--pkcs8',
      '--password=',
      '--outfile',
      keyFile,
    ]);
    await writeFile(template, `cn = "cart"\nuri = "${uri}"\ndns_name = "${dns}"\n`);
    const out = join(folder, 'gnutls.csr');
    await run('certtool', [
      '--generate-request',
      '--load-privkey',
      keyFile,
      '--template',
      template,
      '--outfile',
      out,
    ]);
    const [block] = unwrap(pemDecode(await readFile(out, 'utf8')));
    const csr = await judge(block!.der);
    assert.deepEqual([csr.uriSans, csr.dnsSans], [[uri], [dns]]);
  });
});

suite('our CSRs', () => {
  for (const keyType of keyTypes) {
    test(`with ${keyType} are good for OpenSSL, GnuTLS and pkijs`, async () => {
      for (const options of [{}, { uriSan: uri }]) {
        const der = createCsr(keyFor('leaf', keyType).privateKey, options);
        await judge(der);
        const file = join(folder, 'ours.csr');
        await writeFile(file, pemEncode('CERTIFICATE REQUEST', der));
        const { stderr } = await run('openssl', ['req', '-in', file, '-verify', '-noout']);
        assert.match(stderr, /self-signature verify OK/i);
        const { stdout } = await run('certtool', ['--crq-info', '--infile', file]);
        assert.match(stdout, /Self signature: verified/);
        assert.equal(stdout.includes(uri), 'uriSan' in options);
      }
    });
  }
});
