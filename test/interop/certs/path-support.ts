import { createHash, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import {
  derWriter as w,
  keyUsageNames,
  spkiOf,
  type KeyUsageName,
} from '../../../src/common/x509/index.ts';

export const now = Math.floor(Date.now() / 1000);

export const oids = {
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  subjectKeyId: '2.5.29.14',
  authorityKeyId: '2.5.29.35',
  subjectAltName: '2.5.29.17',
  nameConstraints: '2.5.29.30',
  unknown: '1.3.6.1.4.1.99999.1',
} as const;
export type ExtensionName = keyof typeof oids;
export const serverAuth = '1.3.6.1.5.5.7.3.1';
export const clientAuth = '1.3.6.1.5.5.7.3.2';
export const codeSigning = '1.3.6.1.5.5.7.3.3';
export const anyPurpose = '2.5.29.37.0';

const ecdsaSha256 = '1.2.840.10045.4.3.2';

/** What a certificate of a path says; everything may be wrong. */
export interface Wanted {
  /** Common name; '' for an empty subject. */
  readonly subject?: string;
  readonly key?: KeyObject;
  /** undefined: signs itself. */
  readonly issuer?: Made;
  readonly issuerName?: string;
  readonly ca?: boolean;
  readonly pathLength?: number;
  readonly usage?: readonly KeyUsageName[];
  readonly purposes?: readonly string[];
  readonly uri?: string;
  /** Seconds from now. */
  readonly from?: number;
  readonly to?: number;
  readonly version?: number;
  readonly serial?: Buffer;
  readonly without?: readonly ExtensionName[];
  /** The other value of criticality than is usual. */
  readonly flipped?: readonly ExtensionName[];
  /** Further ones, or a second one of a name. */
  readonly more?: readonly (readonly [ExtensionName, boolean, Buffer])[];
  readonly outerAlgorithm?: string;
  /** In the place of the AuthorityKeyIdentifier's key. */
  readonly authorityKey?: Buffer;
  readonly signedBy?: KeyObject;
}

export interface Made {
  readonly der: Buffer;
  readonly key: KeyObject;
  readonly subject: string;
  readonly keyId: Buffer;
}

export const newKey = (): KeyObject =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

const nameOf = (commonName: string): Buffer =>
  commonName === ''
    ? w.sequence()
    : w.sequence(w.setOf(w.sequence(w.oid('2.5.4.3'), w.utf8String(commonName))));

const timeOf = (seconds: number): Buffer =>
  w.der(
    0x17,
    Buffer.from(
      `${new Date(seconds * 1000).toISOString().replace(/[-:T]/g, '').slice(2, 14)}Z`,
      'latin1',
    ),
  );

const keyIdOf = (key: KeyObject): Buffer => createHash('sha1').update(spkiOf(key)).digest();

const extensionOf = ([name, critical, value]: readonly [ExtensionName, boolean, Buffer]): Buffer =>
  w.sequence(w.oid(oids[name]), ...(critical ? [w.derTrue()] : []), w.octetString(value));

export function made(wanted: Wanted): Made {
  const key = wanted.key ?? newKey();
  const subject = wanted.subject ?? '';
  const algorithm = w.sequence(w.oid(ecdsaSha256));
  const serial = wanted.serial ?? Buffer.concat([Buffer.of(0x41), randomBytes(15)]);
  const extensions = extensionsOf(wanted, subject, key);
  const tbs = w.sequence(
    ...(wanted.version === 0 ? [] : [w.context(0, w.integer(wanted.version ?? 2))]),
    w.der(2, serial),
    algorithm,
    nameOf(wanted.issuerName ?? wanted.issuer?.subject ?? subject),
    w.sequence(timeOf(now + (wanted.from ?? -600)), timeOf(now + (wanted.to ?? 6000))),
    nameOf(subject),
    spkiOf(key),
    ...(extensions.length === 0 ? [] : [w.context(3, w.sequence(...extensions))]),
  );
  const signature = sign('sha256', tbs, wanted.signedBy ?? wanted.issuer?.key ?? key);
  const outer = w.sequence(w.oid(wanted.outerAlgorithm ?? ecdsaSha256));
  const der = w.sequence(tbs, outer, w.bitString(signature));
  return { der, key, subject, keyId: keyIdOf(key) };
}

function extensionsOf(wanted: Wanted, subject: string, key: KeyObject): readonly Buffer[] {
  const usage = wanted.usage ?? (wanted.ca ? ['keyCertSign', 'cRLSign'] : ['digitalSignature']);
  const limit = wanted.pathLength === undefined ? [] : [w.integer(wanted.pathLength)];
  const authorityKey = wanted.authorityKey ?? wanted.issuer?.keyId;
  const purposes = wanted.purposes ?? (wanted.ca ? [] : [serverAuth, clientAuth]);
  const uri = wanted.uri ?? (wanted.ca ? undefined : 'spiffe://mesh.test/web');
  const usual: readonly (readonly [ExtensionName, boolean, Buffer] | undefined)[] = [
    wanted.ca ? ['basicConstraints', true, w.sequence(w.derTrue(), ...limit)] : undefined,
    ['keyUsage', true, w.namedBits(usage.map((each) => keyUsageNames.indexOf(each)))],
    purposes.length === 0
      ? undefined
      : ['extendedKeyUsage', false, w.sequence(...purposes.map((each) => w.oid(each)))],
    ['subjectKeyId', false, w.octetString(keyIdOf(key))],
    authorityKey === undefined
      ? undefined
      : ['authorityKeyId', false, w.sequence(w.contextPrimitive(0, authorityKey))],
    uri === undefined
      ? undefined
      : [
          'subjectAltName',
          subject === '',
          w.sequence(w.contextPrimitive(6, Buffer.from(uri, 'latin1'))),
        ],
  ];
  return [
    ...usual
      .filter((each) => each !== undefined)
      .filter(([name]) => wanted.without?.includes(name) !== true)
      .map(([name, critical, value]): readonly [ExtensionName, boolean, Buffer] => [
        name,
        critical !== (wanted.flipped?.includes(name) ?? false),
        value,
      ]),
    ...(wanted.more ?? []),
  ].map(extensionOf);
}
