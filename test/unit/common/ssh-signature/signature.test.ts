import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { describe, test } from 'node:test';
import { unwrap, type Result } from '../../../../src/common/errors/index.ts';
import {
  parseSshKeyBlob,
  parseSshPublicKey,
  parseSshSignature,
  sshKeyText,
  verifySshSignature,
} from '../../../../src/common/ssh-signature/index.ts';
import { armor, mpint, signatureBlob, SoftSecurityKey, ssh } from '../../../support/ssh.ts';

const namespace = 'meshca-approval@v1';
const message = Buffer.from('what was approved\n');

const codeOf = (result: Result<unknown>): string => (result.ok ? 'ok' : result.error.code);
const check = (armored: string, over: Buffer = message, under: string = namespace): string => {
  const parsed = parseSshSignature(armored);
  return parsed.ok ? codeOf(verifySshSignature(parsed.value, over, under)) : parsed.error.code;
};

/** An Ed25519 key and what it signs, with every part open to change. */
function ed25519(
  changes: {
    readonly key?: Buffer;
    readonly reserved?: string;
    readonly hash?: string;
    readonly version?: number;
    readonly algorithm?: string;
    readonly namespace?: string;
    readonly behind?: Buffer;
  } = {},
): Buffer {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const blob =
    changes.key ??
    Buffer.concat([
      ssh('ssh-ed25519'),
      ssh(Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')),
    ]);
  const hash = changes.hash ?? 'sha512';
  const under = changes.namespace ?? namespace;
  const digest = createHash(hash === 'sha256' ? 'sha256' : 'sha512')
    .update(message)
    .digest();
  const signed = Buffer.concat([
    Buffer.from('SSHSIG'),
    ssh(under),
    ssh(changes.reserved ?? ''),
    ssh(hash),
    ssh(digest),
  ]);
  const signature = Buffer.concat([
    ssh(changes.algorithm ?? 'ssh-ed25519'),
    ssh(sign(null, signed, privateKey)),
    changes.behind ?? Buffer.alloc(0),
  ]);
  return signatureBlob({
    publicKey: blob,
    namespace: under,
    hash,
    signature,
    ...(changes.reserved === undefined ? {} : { reserved: changes.reserved }),
    ...(changes.version === undefined ? {} : { version: changes.version }),
  });
}

describe('a signature', () => {
  test('is valid for its message, in its namespace, with either hash', () => {
    assert.equal(check(armor(ed25519())), 'ok');
    assert.equal(check(armor(ed25519({ hash: 'sha256' }))), 'ok');
    assert.equal(
      check(armor(ed25519()), Buffer.from('another message\n')),
      'SSH_SIGNATURE_INVALID',
    );
    assert.equal(check(armor(ed25519({ namespace: 'file' }))), 'SSH_SIGNATURE_INVALID');
    assert.equal(check(armor(ed25519({ namespace: 'git' })), message, 'git'), 'ok');
  });

  test('by a security key tells counter and verification, and is refused when nobody touched the key', () => {
    for (const kind of ['ed25519', 'ecdsa'] as const) {
      const token = new SoftSecurityKey(kind);
      assert.equal(check(token.sign(message, namespace)), 'ok', kind);
      const facts = unwrap(
        verifySshSignature(
          unwrap(parseSshSignature(token.sign(message, namespace, 0x05))),
          message,
          namespace,
        ),
      );
      assert.deepEqual(facts.securityKey, { userVerified: true, counter: 9 });
      assert.equal(check(token.sign(message, namespace, 0x00)), 'SSH_SIGNATURE_INVALID');
      assert.equal(check(token.sign(message, namespace, 0x04)), 'SSH_SIGNATURE_INVALID');
      assert.equal(check(token.sign('another message', namespace)), 'SSH_SIGNATURE_INVALID');
    }
  });

  test('by a security key does not survive a change of counter, flags or application', () => {
    for (const kind of ['ed25519', 'ecdsa'] as const) {
      const token = new SoftSecurityKey(kind);
      const parsed = unwrap(parseSshSignature(token.sign(message, namespace)));
      const securityKey = parsed.securityKey as { flags: number; counter: number };
      assert.equal(
        codeOf(
          verifySshSignature(
            { ...parsed, securityKey: { ...securityKey, counter: securityKey.counter + 1 } },
            message,
            namespace,
          ),
        ),
        'SSH_SIGNATURE_INVALID',
      );
      assert.equal(
        codeOf(
          verifySshSignature(
            { ...parsed, securityKey: { ...securityKey, flags: 0x05 } },
            message,
            namespace,
          ),
        ),
        'SSH_SIGNATURE_INVALID',
      );
      assert.equal(
        codeOf(
          verifySshSignature(
            { ...parsed, publicKey: { ...parsed.publicKey, application: 'ssh:other' } },
            message,
            namespace,
          ),
        ),
        'SSH_SIGNATURE_INVALID',
      );
    }
  });

  test('that departs from the format in anything is refused', () => {
    const good = ed25519();
    assert.equal(check(armor(ed25519({ version: 2 }))), 'SSH_SIGNATURE_INVALID');
    assert.equal(check(armor(ed25519({ reserved: 'x' }))), 'SSH_SIGNATURE_INVALID');
    assert.equal(check(armor(ed25519({ hash: 'sha1' }))), 'SSH_SIGNATURE_INVALID');
    assert.equal(check(armor(ed25519({ algorithm: 'rsa-sha2-512' }))), 'SSH_SIGNATURE_INVALID');
    assert.equal(
      check(armor(ed25519({ behind: Buffer.from([1, 0, 0, 0, 1]) }))),
      'SSH_SIGNATURE_INVALID',
    );
    assert.equal(check(armor(ed25519({ namespace: '' })), message, ''), 'SSH_SIGNATURE_INVALID');
    assert.equal(check(armor(Buffer.concat([good, Buffer.from([0])]))), 'SSH_SIGNATURE_INVALID');
    assert.equal(
      check(armor(Buffer.concat([Buffer.from('SSHSIH'), good.subarray(6)]))),
      'SSH_SIGNATURE_INVALID',
    );
  });

  test('that is cut at any octet, or changed in any bit, is refused and never throws', () => {
    for (const blob of [
      ed25519(),
      unwrapBlob(new SoftSecurityKey('ecdsa').sign(message, namespace)),
    ]) {
      for (let length = 0; length < blob.length; length += 1)
        assert.notEqual(check(armor(blob.subarray(0, length))), 'ok');
      for (let bit = 0; bit < blob.length * 8; bit += 1) {
        const changed = Buffer.from(blob);
        changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
        assert.notEqual(check(armor(changed)), 'ok', `bit ${bit}`);
      }
    }
  });

  test('in a strange armor is refused', () => {
    const text = armor(ed25519());
    const body = text.split('\n').slice(1, -2);
    assert.equal(check(text.replaceAll('\n', '\r\n')), 'ok');
    for (const strange of [
      '',
      'x'.repeat(20_000),
      text + text,
      `noise\n${text}`,
      `${text}noise`,
      text.replace('SSH SIGNATURE', 'PGP SIGNATURE'),
      text.replace(body[0] as string, `${body[0]}\n`),
      text.replace(body[0] as string, ` ${body[0]}`),
      text.replace(body[0] as string, `${body[0]}=`),
      `-----BEGIN SSH SIGNATURE-----\n${body.join('')}\n-----END SSH SIGNATURE-----`,
      '-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----',
    ])
      assert.equal(check(strange), 'SSH_SIGNATURE_INVALID', JSON.stringify(strange.slice(0, 60)));
  });
});

describe('a public key', () => {
  const point = (): Buffer =>
    Buffer.from(
      generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }).x ?? '',
      'base64url',
    );
  const line = (blob: Buffer, type: string): string => `${type} ${blob.toString('base64')}`;
  const ed = (x: Buffer): Buffer => Buffer.concat([ssh('ssh-ed25519'), ssh(x)]);

  test('line is taken with and without a comment, and given back without', () => {
    const text = line(ed(point()), 'ssh-ed25519');
    assert.equal(
      unwrap(parseSshPublicKey(`${text} alice on her laptop\n`)).comment,
      'alice on her laptop',
    );
    assert.equal(sshKeyText(unwrap(parseSshPublicKey(text))), text);
  });

  test('line with options, a second line, another type, a certificate or bad base64 is refused', () => {
    const text = line(ed(point()), 'ssh-ed25519');
    for (const bad of [
      '',
      'ssh-ed25519',
      `restrict ${text}`,
      `cert-authority ${text}`,
      `${text}\n${text}`,
      text.replace('ssh-ed25519', 'ssh-rsa'),
      `${text}=`,
      `${text.slice(0, -4)}`,
      text.replace('ssh-ed25519', 'ssh-ed25519-cert-v01@openssh.com'),
      `${text} ${'c'.repeat(9_000)}`,
      `${text} \u0007`,
    ]) {
      assert.equal(codeOf(parseSshPublicKey(bad)), 'SSH_KEY_INVALID', bad.slice(0, 80));
    }
  });

  test('that anybody could sign for, or that is no point or too weak, is refused', () => {
    for (const weak of [
      '00'.repeat(32),
      `01${'00'.repeat(31)}`,
      `01${'00'.repeat(30)}80`,
      `ec${'ff'.repeat(31)}`,
      '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85',
    ]) {
      assert.equal(codeOf(parseSshKeyBlob(ed(Buffer.from(weak, 'hex')))), 'SSH_KEY_INVALID');
    }
    assert.equal(codeOf(parseSshKeyBlob(ed(Buffer.alloc(31, 7)))), 'SSH_KEY_INVALID');
    const ec = (bytes: Buffer, curve = 'nistp256'): Buffer =>
      Buffer.concat([ssh('ecdsa-sha2-nistp256'), ssh(curve), ssh(bytes)]);
    assert.equal(
      codeOf(parseSshKeyBlob(ec(Buffer.concat([Buffer.from([4]), Buffer.alloc(64, 5)])))),
      'SSH_KEY_INVALID',
    );
    const jwk = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
      format: 'jwk',
    });
    const good = Buffer.concat([
      Buffer.from([4]),
      Buffer.from(jwk.x ?? '', 'base64url'),
      Buffer.from(jwk.y ?? '', 'base64url'),
    ]);
    assert.equal(codeOf(parseSshKeyBlob(ec(good))), 'ok');
    assert.equal(codeOf(parseSshKeyBlob(ec(good, 'nistp384'))), 'SSH_KEY_INVALID');
    assert.equal(
      codeOf(parseSshKeyBlob(Buffer.concat([ec(good), Buffer.from([0])]))),
      'SSH_KEY_INVALID',
    );
    const rsa = (e: number[], n: Buffer): Buffer =>
      Buffer.concat([ssh('ssh-rsa'), mpint(Buffer.from(e)), mpint(n)]);
    const modulus = Buffer.from(
      generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' }).n ??
        '',
      'base64url',
    );
    assert.equal(codeOf(parseSshKeyBlob(rsa([1, 0, 1], modulus))), 'ok');
    assert.equal(codeOf(parseSshKeyBlob(rsa([3], modulus))), 'SSH_KEY_INVALID');
    assert.equal(
      codeOf(parseSshKeyBlob(rsa([1, 0, 1], modulus.subarray(0, 128)))),
      'SSH_KEY_INVALID',
    );
    assert.equal(codeOf(parseSshKeyBlob(rsa([1, 0, 0], modulus))), 'SSH_KEY_INVALID');
  });

  test('blob cut anywhere is refused and never throws', () => {
    const { blob } = new SoftSecurityKey('ecdsa');
    for (let length = 0; length < blob.length; length += 1)
      assert.equal(codeOf(parseSshKeyBlob(blob.subarray(0, length))), 'SSH_KEY_INVALID');
    assert.equal(codeOf(parseSshKeyBlob(blob)), 'ok');
  });
});

const unwrapBlob = (armored: string): Buffer =>
  Buffer.from(armored.split('\n').slice(1, -2).join(''), 'base64');
