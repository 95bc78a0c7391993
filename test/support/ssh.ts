import { execFile } from 'node:child_process';
import { createHash, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface SshIdentity {
  readonly keyPath: string;
  /** The line of the .pub file. */
  readonly publicKey: string;
}

/** A key made by the real ssh-keygen. */
export async function sshKey(
  dir: string,
  name: string,
  type: 'ed25519' | 'ecdsa' | 'rsa' = 'ed25519',
  bits?: number,
): Promise<SshIdentity> {
  const keyPath = join(dir, name);
  await run('ssh-keygen', [
    '-q',
    '-t',
    type,
    ...(bits === undefined ? [] : ['-b', String(bits)]),
    '-N',
    '',
    '-C',
    `${name}@test`,
    '-f',
    keyPath,
  ]);
  return { keyPath, publicKey: (await readFile(`${keyPath}.pub`, 'utf8')).trim() };
}

let count = 0;
/** Signs with the real ssh-keygen; gives the armored signature. */
export async function sshSign(
  dir: string,
  keyPath: string,
  message: string | Buffer,
  { namespace, hash }: { readonly namespace: string; readonly hash?: string | undefined },
): Promise<string> {
  const file = join(dir, `message-${(count += 1)}`);
  await writeFile(file, message);
  await run('ssh-keygen', [
    '-q',
    '-Y',
    'sign',
    '-f',
    keyPath,
    '-n',
    namespace,
    ...(hash === undefined ? [] : ['-O', `hashalg=${hash}`]),
    file,
  ]);
  return readFile(`${file}.sig`, 'utf8');
}

export function ssh(value: Buffer | string): Buffer {
  const bytes = Buffer.from(value as string, 'latin1');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

export const mpint = (bytes: Buffer): Buffer => {
  let from = 0;
  while (from < bytes.length - 1 && bytes[from] === 0) from += 1;
  const shortest = bytes.subarray(from);
  return ssh(
    (shortest[0] as number) >= 0x80 ? Buffer.concat([Buffer.from([0]), shortest]) : shortest,
  );
};

export const armor = (blob: Buffer): string =>
  '-----BEGIN SSH ' +
  `SIGNATURE-----\n${(blob.toString('base64').match(/.{1,70}/g) ?? []).join('\n')}\n-----END ` +
  'SSH SIGNATURE-----\n';

export const signatureBlob = (parts: {
  readonly publicKey: Buffer;
  readonly namespace: string;
  readonly reserved?: string;
  readonly hash: string;
  readonly signature: Buffer;
  readonly version?: number;
}): Buffer => {
  const version = Buffer.alloc(4);
  version.writeUInt32BE(parts.version ?? 1);
  return Buffer.concat([
    Buffer.from('SSHSIG'),
    version,
    ssh(parts.publicKey),
    ssh(parts.namespace),
    ssh(parts.reserved ?? ''),
    ssh(parts.hash),
    ssh(parts.signature),
  ]);
};

/** What a FIDO2 key does, in software: PROTOCOL.u2f and PROTOCOL.sshsig of OpenSSH. */
export class SoftSecurityKey {
  readonly type: 'sk-ssh-ed25519@openssh.com' | 'sk-ecdsa-sha2-nistp256@openssh.com';
  readonly #key: KeyObject;
  readonly blob: Buffer;
  readonly #application: string;
  counter = 7;

  constructor(kind: 'ed25519' | 'ecdsa', application = 'ssh:') {
    this.#application = application;
    const { publicKey, privateKey } =
      kind === 'ed25519'
        ? generateKeyPairSync('ed25519')
        : generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#key = privateKey;
    const jwk = publicKey.export({ format: 'jwk' });
    const raw = (text: string | undefined): Buffer => Buffer.from(text ?? '', 'base64url');
    this.type =
      kind === 'ed25519' ? 'sk-ssh-ed25519@openssh.com' : 'sk-ecdsa-sha2-nistp256@openssh.com';
    this.blob =
      kind === 'ed25519'
        ? Buffer.concat([ssh(this.type), ssh(raw(jwk.x)), ssh(application)])
        : Buffer.concat([
            ssh(this.type),
            ssh('nistp256'),
            ssh(Buffer.concat([Buffer.from([4]), raw(jwk.x), raw(jwk.y)])),
            ssh(application),
          ]);
  }

  get publicKey(): string {
    return `${this.type} ${this.blob.toString('base64')} token@test`;
  }

  sign(message: string | Buffer, namespace: string, flags = 0x01): string {
    const digest = createHash('sha512').update(message).digest();
    const signed = Buffer.concat([
      Buffer.from('SSHSIG'),
      ssh(namespace),
      ssh(''),
      ssh('sha512'),
      ssh(digest),
    ]);
    const tail = Buffer.alloc(5);
    tail.writeUInt8(flags);
    tail.writeUInt32BE((this.counter += 1), 1);
    const bytes = Buffer.concat([
      createHash('sha256').update(this.#application).digest(),
      tail,
      createHash('sha256').update(signed).digest(),
    ]);
    const signature = this.type.startsWith('sk-ssh')
      ? sign(null, bytes, this.#key)
      : this.#ecdsa(bytes);
    return armor(
      signatureBlob({
        publicKey: this.blob,
        namespace,
        hash: 'sha512',
        signature: Buffer.concat([ssh(this.type), ssh(signature), tail]),
      }),
    );
  }

  #ecdsa(bytes: Buffer): Buffer {
    const fixed = sign('sha256', bytes, { key: this.#key, dsaEncoding: 'ieee-p1363' });
    return Buffer.concat([mpint(fixed.subarray(0, 32)), mpint(fixed.subarray(32))]);
  }
}
