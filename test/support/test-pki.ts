import {
  createHash,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  type KeyObject,
} from 'node:crypto';
import {
  derWriter as w,
  pkcs8Of,
  spkiOf,
  type KeyUsageName,
  keyUsageNames,
} from '../../src/common/x509/index.ts';

/**
 * A software CA for tests alone. It makes wrong certificates as readily as right ones, which the
 * product's builders refuse to.
 */
export interface TestAuthority {
  readonly certificateDer: Buffer;
  readonly privateKey: KeyObject;
  readonly subjectDer: Buffer;
  readonly keyId: Buffer;
  /** Certificates between this authority and its root, its own first; empty for a root. */
  readonly chainDer: readonly Buffer[];
}

export interface TestSvid {
  readonly id: string;
  /** Leaf first, without the root. */
  readonly chainDer: readonly Buffer[];
  readonly privateKey: KeyObject;
  readonly keyDer: Buffer;
}

export interface CertificateOptions {
  readonly subject?: string;
  readonly uriSans?: readonly string[];
  readonly dnsSans?: readonly string[];
  /** IPv4. */
  readonly ipSans?: readonly string[];
  readonly isCa?: boolean;
  readonly pathLength?: number;
  readonly keyUsage?: readonly KeyUsageName[];
  readonly keyUsageCritical?: boolean;
  /** Dotted OIDs; none: the extension is absent. */
  readonly extendedKeyUsage?: readonly string[];
  /** Seconds from now. */
  readonly notBeforeIn?: number;
  readonly notAfterIn?: number;
  /** Another key identifier than that of its key. */
  readonly subjectKeyId?: Buffer;
}

export const serverAuth = '1.3.6.1.5.5.7.3.1';
export const clientAuth = '1.3.6.1.5.5.7.3.2';

const ecdsaSha256 = w.sequence(w.oid('1.2.840.10045.4.3.2'));
const newKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

export function createRoot(trustDomain: string, options: CertificateOptions = {}): TestAuthority {
  const privateKey = newKey();
  const subjectDer = nameDer(options.subject ?? `root of ${trustDomain}`);
  const keyId = keyIdOf(spkiOf(privateKey));
  const self = { certificateDer: Buffer.alloc(0), privateKey, subjectDer, keyId, chainDer: [] };
  const certificateDer = createCertificate(self, spkiOf(privateKey), subjectDer, {
    uriSans: [`spiffe://${trustDomain}`],
    ...authority,
    notAfterIn: 3600,
    ...options,
  });
  return { ...self, certificateDer };
}

export function createIntermediate(
  parent: TestAuthority,
  trustDomain: string,
  options: CertificateOptions = {},
): TestAuthority {
  const privateKey = newKey();
  const subjectDer = nameDer(options.subject ?? `issuer of ${trustDomain}`);
  const spki = spkiOf(privateKey);
  const certificateDer = createCertificate(parent, spki, subjectDer, {
    uriSans: [`spiffe://${trustDomain}`],
    ...authority,
    pathLength: 0,
    notAfterIn: 3000,
    ...options,
  });
  return {
    certificateDer,
    privateKey,
    subjectDer,
    keyId: keyIdOf(spki),
    chainDer: [certificateDer, ...parent.chainDer],
  };
}

/** An X.509-SVID, valid from a minute ago for ten more unless told otherwise. */
export function createSvid(
  issuer: TestAuthority,
  id: string,
  options: CertificateOptions = {},
): TestSvid {
  const privateKey = newKey();
  const leaf = createCertificate(issuer, spkiOf(privateKey), nameDer(options.subject ?? ''), {
    uriSans: [id],
    keyUsage: ['digitalSignature'],
    extendedKeyUsage: [serverAuth, clientAuth],
    ...options,
  });
  return { id, chainDer: [leaf, ...issuer.chainDer], privateKey, keyDer: pkcs8Of(privateKey) };
}

export function createCertificate(
  issuer: TestAuthority,
  spkiDer: Buffer,
  subjectDer: Buffer,
  options: CertificateOptions,
): Buffer {
  const now = Math.floor(Date.now() / 1000);
  const serial = randomBytes(16);
  serial[0] = ((serial[0] as number) & 0x7f) | 0x40;
  const tbs = w.sequence(
    w.context(0, w.integer(2)),
    w.unsignedInteger(serial),
    ecdsaSha256,
    issuer.subjectDer,
    w.sequence(
      timeDer(now + (options.notBeforeIn ?? -60)),
      timeDer(now + (options.notAfterIn ?? 600)),
    ),
    subjectDer,
    spkiDer,
    w.context(3, w.sequence(...extensionsOf(issuer, spkiDer, subjectDer, options))),
  );
  return w.sequence(tbs, ecdsaSha256, w.bitString(sign('sha256', tbs, issuer.privateKey)));
}

const authority: CertificateOptions = { isCa: true, keyUsage: ['keyCertSign', 'cRLSign'] };

function extensionsOf(
  issuer: TestAuthority,
  spkiDer: Buffer,
  subjectDer: Buffer,
  options: CertificateOptions,
): Buffer[] {
  const list: Buffer[] = [];
  if (options.isCa)
    list.push(
      extension(
        '2.5.29.19',
        true,
        w.sequence(
          w.derTrue(),
          ...(options.pathLength === undefined ? [] : [w.integer(options.pathLength)]),
        ),
      ),
    );
  if (options.keyUsage !== undefined) {
    list.push(
      extension(
        '2.5.29.15',
        options.keyUsageCritical ?? true,
        w.namedBits(options.keyUsage.map((name) => keyUsageNames.indexOf(name))),
      ),
    );
  }
  if (options.extendedKeyUsage !== undefined)
    list.push(
      extension(
        '2.5.29.37',
        false,
        w.sequence(...options.extendedKeyUsage.map((each) => w.oid(each))),
      ),
    );
  list.push(extension('2.5.29.14', false, w.octetString(options.subjectKeyId ?? keyIdOf(spkiDer))));
  list.push(extension('2.5.29.35', false, w.sequence(w.contextPrimitive(0, issuer.keyId))));
  const names = [
    ...(options.uriSans ?? []).map((uri) => w.contextPrimitive(6, Buffer.from(uri, 'latin1'))),
    ...(options.dnsSans ?? []).map((name) => w.contextPrimitive(2, Buffer.from(name, 'latin1'))),
    ...(options.ipSans ?? []).map((ip) =>
      w.contextPrimitive(7, Buffer.from(ip.split('.').map(Number))),
    ),
  ];
  if (names.length > 0)
    list.push(extension('2.5.29.17', subjectDer.length === 2, w.sequence(...names)));
  return list;
}

const extension = (oid: string, critical: boolean, value: Buffer): Buffer =>
  w.sequence(w.oid(oid), ...(critical ? [w.derTrue()] : []), w.octetString(value));

const nameDer = (commonName: string): Buffer =>
  commonName === ''
    ? w.sequence()
    : w.sequence(w.setOf(w.sequence(w.oid('2.5.4.3'), w.utf8String(commonName))));

function timeDer(seconds: number): Buffer {
  const text = new Date(seconds * 1000).toISOString().replace(/[-:T]/g, '').slice(2, 14);
  return w.der(0x17, Buffer.from(`${text}Z`, 'latin1'));
}

const keyIdOf = (spkiDer: Buffer): Buffer =>
  createHash('sha1')
    .update(
      createPublicKey({ key: spkiDer, format: 'der', type: 'spki' }).export({
        format: 'der',
        type: 'spki',
      }),
    )
    .digest();
