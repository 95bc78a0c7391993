import { ProbeFailure } from '../failure.ts';
import { extensionType } from './numbers.ts';
import { readExtensions, WireReader } from './wire.ts';

/** The leaf in a Certificate message of TLS 1.3 (RFC 8446 section 4.4.2). Throws ProbeFailure. */
export function leafOf13(body: Buffer): Buffer {
  const reader = new WireReader(body, 'the certificate message');
  if (reader.vector(1).length > 0)
    throw new ProbeFailure('the certificate message of the server answers to no request');
  const list = reader.enter(3);
  reader.end();
  let leaf: Buffer | undefined;
  while (list.more) {
    const certificate = list.vector(3);
    list.vector(2);
    leaf ??= certificate;
  }
  return presented(leaf);
}

/** The same in TLS 1.2 (RFC 5246 section 7.4.2). */
export function leafOf12(body: Buffer): Buffer {
  const reader = new WireReader(body, 'the certificate message');
  const list = reader.enter(3);
  reader.end();
  let leaf: Buffer | undefined;
  while (list.more) {
    const certificate = list.vector(3);
    leaf ??= certificate;
  }
  return presented(leaf);
}

function presented(leaf: Buffer | undefined): Buffer {
  if (leaf === undefined) throw new ProbeFailure('the server presents no certificate');
  return Buffer.from(leaf);
}

/** A request for a certificate of the client. */
export interface CertificateRequest {
  readonly context: Buffer;
  readonly caNamesDer: readonly Buffer[];
}

/** RFC 8446 sections 4.3.2 and 4.2.4. Throws ProbeFailure. */
export function certificateRequest13(body: Buffer): CertificateRequest {
  const reader = new WireReader(body, 'the certificate request');
  const context = Buffer.from(reader.vector(1));
  const extensions = readExtensions(reader.enter(2), 'the certificate request of the server');
  reader.end();
  const authorities = extensions.get(extensionType.certificateAuthorities);
  if (authorities === undefined) return { context, caNamesDer: [] };
  const names = new WireReader(authorities, 'the list of CA names');
  const caNamesDer = namesIn(names.enter(2));
  names.end();
  return { context, caNamesDer };
}

/** RFC 5246 section 7.4.4. Throws ProbeFailure. */
export function certificateRequest12(body: Buffer): CertificateRequest {
  const reader = new WireReader(body, 'the certificate request');
  reader.vector(1);
  reader.vector(2);
  const caNamesDer = namesIn(reader.enter(2));
  reader.end();
  return { context: Buffer.alloc(0), caNamesDer };
}

function namesIn(list: WireReader): readonly Buffer[] {
  const names: Buffer[] = [];
  while (list.more) names.push(Buffer.from(list.vector(2)));
  return names;
}
