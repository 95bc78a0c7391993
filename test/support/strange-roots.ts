import { generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import { derWriter as w, spkiOf } from '../../src/common/x509/index.ts';

/** `left-out`: the rest of its bundle is taken. */
export type RootVerdict = 'taken' | 'left-out' | 'refused';

export interface StrangeRoot {
  readonly name: string;
  readonly der: Buffer;
  readonly verdict: RootVerdict;
}

const newKey = (namedCurve: string): KeyObject =>
  generateKeyPairSync('ec', { namedCurve }).privateKey;

const signer = newKey('P-256');
const ecdsaSha256 = w.sequence(w.oid('1.2.840.10045.4.3.2'));

interface RootParts {
  readonly extensions?: readonly Buffer[];
  readonly spki?: Buffer;
  /** A text of the subject, with its tag. */
  readonly text?: Buffer;
}

const extension = (oid: string, value: Buffer): Buffer =>
  w.sequence(w.oid(oid), w.octetString(value));
const critical = (oid: string, value: Buffer): Buffer =>
  w.sequence(w.oid(oid), w.derTrue(), w.octetString(value));
const element = (tag: number, content: string | readonly number[]): Buffer => {
  const bytes = typeof content === 'string' ? Buffer.from(content, 'latin1') : Buffer.from(content);
  return Buffer.concat([Buffer.from([tag, bytes.length]), bytes]);
};

/** Not self-signed: nobody checks the signature of a root. */
function rootOf({ extensions = [], spki = spkiOf(signer), text }: RootParts): Buffer {
  const name = w.sequence(
    w.setOf(w.sequence(w.oid('2.5.4.3'), text ?? w.utf8String('a strange root'))),
  );
  const serial = randomBytes(16);
  serial[0] = ((serial[0] as number) & 0x7f) | 0x40;
  const tbs = w.sequence(
    w.context(0, w.integer(2)),
    w.unsignedInteger(serial),
    ecdsaSha256,
    name,
    w.sequence(element(0x17, '250101000000Z'), element(0x17, '490101000000Z')),
    name,
    spki,
    w.context(
      3,
      w.sequence(
        critical('2.5.29.19', w.sequence(w.derTrue())),
        critical('2.5.29.15', w.namedBits([5, 6])),
        ...extensions,
      ),
    ),
  );
  return w.sequence(tbs, ecdsaSha256, w.bitString(sign('sha256', tbs, signer)));
}

const uri = 0x86;
const mail = 0x81;
const dns = 0x82;
const ip = 0x87;

const altName = (type: number, content: string | readonly number[]): RootParts => ({
  extensions: [extension('2.5.29.17', w.sequence(element(type, content)))],
});
const constrained = (type: number, content: string | readonly number[]): RootParts => ({
  extensions: [critical('2.5.29.30', w.sequence(w.context(0, w.sequence(element(type, content)))))],
});
const raw = (oid: string, value: Buffer): RootParts => ({ extensions: [extension(oid, value)] });
const junk = Buffer.from('junk');
const policy = w.sequence(w.oid('1.2.3.4'));

const ones = (octets: number): Buffer => Buffer.alloc(octets, 0xff);
const rsa = (modulus: Buffer, exponent: Buffer): RootParts => ({
  spki: w.sequence(
    w.sequence(w.oid('1.2.840.113549.1.1.1'), element(0x05, [])),
    w.bitString(w.sequence(w.unsignedInteger(modulus), w.unsignedInteger(exponent))),
  ),
});
const f4 = Buffer.from([1, 0, 1]);

function offCurve(): RootParts {
  const spki = Buffer.from(spkiOf(newKey('P-256')));
  spki[spki.length - 1] = (spki.at(-1) as number) ^ 1;
  return { spki };
}

const curve = (name: string): RootParts => ({ spki: spkiOf(newKey(name)) });
const spkiDer = ({ publicKey }: { readonly publicKey: KeyObject }): RootParts => ({
  spki: spkiOf(publicKey),
});

type Parts = Readonly<Record<string, RootParts>>;

const taken = (): Parts => ({
  plain: {},
  'P-521': curve('P-521'),
  Ed25519: spkiDer(generateKeyPairSync('ed25519')),
  'RSA 2048': rsa(ones(256), f4),
  'RSA with the exponent 3': rsa(ones(256), Buffer.from([3])),
  'a mail address': altName(mail, 'ca@company.test'),
  'a URI with a path': altName(uri, 'https://company.test/ca.pem'),
  'an opaque URI': altName(uri, 'urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6'),
  'constraints of DNS names': constrained(dns, '.company.test'),
  'constraints of URIs': constrained(uri, 'company.test'),
  'constraints of addresses': constrained(ip, [10, 0, 0, 0, 255, 0, 0, 0]),
  'constraints of mail': constrained(mail, 'ca@company.test'),
  policies: raw('2.5.29.32', w.sequence(policy)),
  'an extension of its own': raw('1.2.3.4.5', junk),
});

const leftOut = (): Parts => ({
  secp256k1: curve('secp256k1'),
  brainpool: curve('brainpoolP256r1'),
  secp224r1: curve('secp224r1'),
  'not on its curve': offCurve(),
  'RSA-PSS': spkiDer(generateKeyPairSync('rsa-pss', { modulusLength: 2_048 })),
  DSA: spkiDer(generateKeyPairSync('dsa', { modulusLength: 1_024, divisorLength: 160 })),
  X25519: spkiDer(generateKeyPairSync('x25519')),
});

const refused = (): Parts => ({
  'RSA 1024': rsa(ones(128), f4),
  'RSA 16384': rsa(ones(2_048), f4),
  'RSA with the exponent 1': rsa(ones(256), Buffer.from([1])),
  'RSA with a huge exponent': rsa(ones(256), ones(16)),
  'a URI with a broken escape': altName(uri, 'https://company.test/%zz'),
  'a URI with a broken port': altName(uri, 'https://company.test:x/'),
  'a URI with an empty label': altName(uri, 'spiffe://partner..test'),
  'a URI with a dot at the end of its host': altName(uri, 'spiffe://partner.test.'),
  'a URI without a scheme': altName(uri, ':'),
  'an address of three octets': altName(ip, [1, 2, 3]),
  'a mail address beyond ASCII': altName(mail, '\xff'),
  'constraints that are none': raw('2.5.29.30', junk),
  'empty constraints': raw('2.5.29.30', w.sequence()),
  'constraints of a broken DNS name': constrained(dns, 'a..test'),
  'constraints of an address as a URI': constrained(uri, '10.0.0.1'),
  'constraints of a broken mail address': constrained(mail, '@@'),
  'constraints of a broken mask': constrained(ip, [10, 0, 0, 0, 255, 0, 255, 0]),
  'policies that are none': raw('2.5.29.32', junk),
  'a policy twice': raw('2.5.29.32', w.sequence(policy, policy)),
  'policy mappings': raw('2.5.29.33', junk),
  'policy constraints': raw('2.5.29.36', junk),
  'inhibited policies': raw('2.5.29.54', junk),
  'a text of an old type': { text: element(0x1c, [0, 0, 0, 0x41]) },
  'a text with half a character': { text: element(0x1e, [0xd8, 0]) },
  'a number for a text': { text: element(0x02, [1]) },
});

/** Roots that are well-formed DER, and that libraries judge differently. */
export function strangeRoots(): readonly StrangeRoot[] {
  const of = (verdict: RootVerdict, parts: Parts): readonly StrangeRoot[] =>
    Object.entries(parts).map(([name, each]) => ({ name, der: rootOf(each), verdict }));
  return [...of('taken', taken()), ...of('left-out', leftOut()), ...of('refused', refused())];
}

/** A bundle document with this root beside others, as base64 of their DER. */
export const documentWith = (
  roots: readonly Buffer[],
  { sequence = 1 }: { readonly sequence?: number } = {},
): string =>
  JSON.stringify({
    keys: roots.map((der) => ({ kty: 'EC', use: 'x509-svid', x5c: [der.toString('base64')] })),
    spiffe_sequence: sequence,
    spiffe_refresh_hint: 60,
  });
