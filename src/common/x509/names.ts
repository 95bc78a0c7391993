import { isAscii, isUtf8 } from 'node:buffer';
import { DerError, tag, type DerReader } from './der-reader.ts';
import { ipText } from './ip-address.ts';
import type { AltNames } from './types.ts';

/** Kind of each GeneralName, by its tag octet (RFC 5280 section 4.2.1.6). */
const generalNameKinds: Readonly<Record<number, string>> = {
  0xa0: 'otherName',
  0x81: 'rfc822Name',
  0x82: 'dNSName',
  0xa3: 'x400Address',
  0xa4: 'directoryName',
  0xa5: 'ediPartyName',
  0x86: 'uniformResourceIdentifier',
  0x87: 'iPAddress',
  0x88: 'registeredID',
};

const maximumNames = 256;

/**
 * Reads GeneralNames from a reader that stands at the first name. URIs and DNS names are printable
 * ASCII: a NUL or a control character is refused.
 */
export function readGeneralNames(names: DerReader, what: string): AltNames {
  const uris: string[] = [];
  const dnsNames: string[] = [];
  const ips: string[] = [];
  const otherKinds: string[] = [];
  if (!names.more) throw new DerError(`${what} is empty`);
  for (let count = 0; names.more; count += 1) {
    if (count === maximumNames) throw new DerError(`${what} has more than ${maximumNames} names`);
    const name = names.any(what);
    const kind = generalNameKinds[name.tag];
    if (kind === undefined)
      throw new DerError(`${what} has a name with the unknown tag 0x${name.tag.toString(16)}`);
    if (name.tag === 0x86) uris.push(printableAscii(name.content, what));
    else if (name.tag === 0x82) dnsNames.push(printableAscii(name.content, what));
    else otherKinds.push(kind);
    const ip = name.tag === 0x87 ? ipText(name.content) : undefined;
    if (ip !== undefined) ips.push(ip);
  }
  return { uris, dnsNames, ips, otherKinds };
}

function printableAscii(content: Buffer, what: string): string {
  for (let index = 0; index < content.length; index += 1) {
    const octet = content[index] as number;
    if (octet < 0x21 || octet > 0x7e)
      throw new DerError(
        `${what} has the name ${JSON.stringify(content.toString('latin1').slice(0, 80))}, ` +
          `in which the octet 0x${octet.toString(16)} is not allowed`,
      );
  }
  if (content.length === 0) throw new DerError(`${what} has an empty name`);
  return content.toString('latin1');
}

/** Text types of attribute values, and whether their content is allowed (X.680 section 41). */
const textTypes: Readonly<Record<number, (content: Buffer) => boolean>> = {
  0x0c: (content) => isUtf8(content),
  0x12: (content) => /^[0-9 ]*$/.test(content.toString('latin1')),
  0x13: (content) => /^[A-Za-z0-9 '()+,./:=?-]*$/.test(content.toString('latin1')),
  0x14: () => true,
  0x16: (content) => isAscii(content),
  0x1c: (content) => content.length % 4 === 0,
  0x1e: (content) => content.length % 2 === 0,
};

/**
 * Passes over a Name of a certificate (RFC 5280 section 4.1.2.4): types are OIDs, texts are of their
 * type and not empty, the attributes of an RDN stand in DER's order and none twice.
 */
export function readStrictName(reader: DerReader, what: string): Buffer {
  const start = reader.offset;
  const name = reader.sequence(what);
  while (name.more) {
    const set = name.enter(tag.set, what);
    if (!set.more) throw new DerError(`${what} has an empty RDN`);
    let previous: Buffer | undefined;
    while (set.more) {
      const from = set.offset;
      const attribute = set.sequence(what);
      const encoded = set.since(from);
      if (previous !== undefined && Buffer.compare(previous, encoded) >= 0)
        throw new DerError(`${what} has attributes of an RDN twice, or not in DER's order`);
      previous = encoded;
      attribute.oidHex(`an attribute type of ${what}`);
      const value = attribute.any(what);
      attribute.end(what);
      const isAllowed = textTypes[value.tag];
      if (isAllowed !== undefined && (value.content.length === 0 || !isAllowed(value.content)))
        throw new DerError(`${what} has a text that is empty or not of its type`);
    }
  }
  return reader.since(start);
}

/** Passes over a Name, checking its structure; returns it with tag and length. */
export function readName(reader: DerReader, what: string): Buffer {
  const start = reader.offset;
  const name = reader.sequence(what);
  while (name.more) {
    const set = name.enter(tag.set, what);
    if (!set.more) throw new DerError(`${what} has an empty RDN`);
    while (set.more) {
      const attribute = set.sequence(what);
      attribute.content(tag.oid, what);
      attribute.any(what);
      attribute.end(what);
    }
  }
  return reader.since(start);
}
