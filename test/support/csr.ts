import { sign, type KeyObject } from 'node:crypto';
import {
  bitString,
  context,
  contextPrimitive,
  integer,
  octetString,
  oid,
  sequence,
  setOf,
} from '../../src/common/x509/der-writer.ts';
import { spkiOf } from '../../src/common/x509/index.ts';

/** What a foreign client writes into its request. */
export interface StatedCsr {
  readonly commonName?: string;
  readonly dnsSans?: readonly string[];
  readonly uriSans?: readonly string[];
  readonly emails?: readonly string[];
  /** IPv4. */
  readonly ips?: readonly string[];
  /** GeneralNames in DER. */
  readonly others?: readonly Buffer[];
  /** Other requested extensions in DER. */
  readonly extensions?: readonly Buffer[];
}

const ecdsaSha256 = sequence(oid('1.2.840.10045.4.3.2'));
const tags = { email: 1, dns: 2, uri: 6, ip: 7 } as const;
const utf8String = (text: string): Buffer => {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from([0x0c, bytes.length]), bytes]);
};

/** A PKCS#10 request with a P-256 key and these names, for tests of foreign clients. */
export function statedCsr(key: KeyObject, stated: StatedCsr): Buffer {
  const {
    commonName,
    dnsSans = [],
    uriSans = [],
    emails = [],
    ips = [],
    others = [],
    extensions = [],
  } = stated;
  const names = [
    ...dnsSans.map((name) => contextPrimitive(tags.dns, Buffer.from(name))),
    ...uriSans.map((uri) => contextPrimitive(tags.uri, Buffer.from(uri))),
    ...emails.map((email) => contextPrimitive(tags.email, Buffer.from(email))),
    ...ips.map((ip) => contextPrimitive(tags.ip, Buffer.from(ip.split('.').map(Number)))),
    ...others,
  ];
  const san = sequence(oid('2.5.29.17'), octetString(sequence(...names)));
  const requested = [...(names.length === 0 ? [] : [san]), ...extensions];
  const subject =
    commonName === undefined
      ? sequence()
      : sequence(setOf(sequence(oid('2.5.4.3'), utf8String(commonName))));
  const attributes =
    requested.length === 0
      ? context(0)
      : context(0, sequence(oid('1.2.840.113549.1.9.14'), setOf(sequence(...requested))));
  const info = sequence(integer(0), subject, spkiOf(key), attributes);
  return sequence(info, ecdsaSha256, bitString(sign('sha256', info, key)));
}
