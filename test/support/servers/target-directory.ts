import { createHash, generateKeyPairSync, X509Certificate, type KeyObject } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { StoredSet } from '../../../sidecar/files/certificate-set.ts';
import type { DriverCall } from '../../../sidecar/files/driver.ts';
import type { ClientPair } from './served-serial.ts';
import { createIntermediate, createRoot, createSvid, type TestAuthority } from '../test-pki.ts';

const trustDomain = 'mesh.test';

export const setFiles = {
  cert: 'cert.pem',
  chain: 'chain.pem',
  fullchain: 'fullchain.pem',
  key: 'key.pem',
  combined: 'combined.pem',
  ca: 'ca.pem',
} as const;

export interface TestSetOptions {
  /** The key is that of another certificate. */
  readonly wrongKey?: boolean;
  /** Signs the leaf, and stands in `ca`. */
  readonly authority?: TestAuthorities;
  /** The roots in `ca`, where they are not that of the authority. */
  readonly roots?: readonly TestAuthority[];
}

export interface TestAuthorities {
  readonly root: TestAuthority;
  readonly issuer: TestAuthority;
}

/** A root and an intermediate below it. */
export function newAuthorities(name = 'root'): TestAuthorities {
  const root = createRoot(trustDomain, { subject: name });
  return { root, issuer: createIntermediate(root, trustDomain) };
}

/**
 * The directory of a target with sets in it, for a server that runs beside the test. Everybody may
 * read it, or the keys belong to the user of the server.
 */
export class TargetDirectory {
  readonly path: string;
  readonly authorities: TestAuthorities;
  readonly #owner: number | undefined;
  #number = 0;

  constructor(options: { readonly authorities?: TestAuthorities; readonly owner?: number } = {}) {
    this.authorities = options.authorities ?? newAuthorities();
    this.#owner = options.owner;
    this.path = mkdtempSync(join(tmpdir(), 'meshca-target-'));
    chmodSync(this.path, 0o755);
    mkdirSync(join(this.path, 'sets'));
  }

  /** Writes a set for localhost beside the others. */
  write(options: TestSetOptions = {}): StoredSet {
    const { root, issuer } = options.authority ?? this.authorities;
    const { chainDer, privateKey } = createSvid(issuer, `spiffe://${trustDomain}/server`, {
      dnsSans: ['localhost'],
    });
    const roots = (options.roots ?? [root]).map(({ certificateDer }) => certificateDer);
    const leaf = new X509Certificate(chainDer[0] as Buffer);
    const serial = leaf.serialNumber.toLowerCase();
    this.#number += 1;
    const name = `${this.#number}-${serial}`;
    const directory = join(this.path, 'sets', name);
    mkdirSync(directory);
    this.#writeFiles(directory, chainDer, options.wrongKey ? newKey() : privateKey, roots);
    return {
      name,
      number: this.#number,
      serial,
      directory,
      notBefore: Math.floor(Date.parse(leaf.validFrom) / 1000),
      notAfter: Math.floor(Date.parse(leaf.validTo) / 1000),
      leafSha256: createHash('sha256').update(leaf.raw).digest('hex'),
      authoritySetDigest: createHash('sha256').update(Buffer.concat(roots)).digest('hex'),
      forNames: undefined,
    };
  }

  #writeFiles(
    directory: string,
    chainDer: readonly Buffer[],
    privateKey: KeyObject,
    roots: readonly Buffer[],
  ): void {
    const chain = chainDer.map(pem);
    const key = String(privateKey.export({ format: 'pem', type: 'pkcs8' }));
    const contents: Readonly<Record<keyof typeof setFiles, string>> = {
      cert: chain[0] as string,
      chain: chain.slice(1).join(''),
      fullchain: chain.join(''),
      key,
      combined: key + chain.join(''),
      ca: roots.map(pem).join(''),
    };
    for (const [kind, content] of Object.entries(contents)) {
      const path = join(directory, setFiles[kind as keyof typeof setFiles]);
      writeFileSync(path, content, { mode: kind === 'key' || kind === 'combined' ? 0o600 : 0o644 });
      if (this.#owner !== undefined) chownSync(path, this.#owner, this.#owner);
    }
  }

  /** One rename of `current`. */
  swap(set: StoredSet): void {
    const next = join(this.path, 'current.next');
    symlinkSync(join('sets', set.name), next);
    renameSync(next, join(this.path, 'current'));
  }

  call(set: StoredSet, previous?: StoredSet): DriverCall {
    return { target: 'web', directory: this.path, set, previous, files: setFiles };
  }

  /** The serial of the set that `current` names. */
  get currentSerial(): string {
    return basename(readlinkSync(join(this.path, 'current'))).replace(/^\d+-/, '');
  }

  /** A file of the set that `current` names. */
  file(kind: keyof typeof setFiles): string {
    return join(this.path, 'current', setFiles[kind]);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** A client with a certificate of these authorities. */
export function clientOf({ issuer }: TestAuthorities): ClientPair {
  const { chainDer, privateKey } = createSvid(issuer, `spiffe://${trustDomain}/client`);
  return {
    cert: chainDer.map(pem).join(''),
    key: String(privateKey.export({ format: 'pem', type: 'pkcs8' })),
  };
}

const newKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

const pem = (der: Buffer): string => new X509Certificate(der).toString();
