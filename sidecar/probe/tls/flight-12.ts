import { ProbeFailure } from '../failure.ts';
import type { Shown } from '../listener.ts';
import type { Greeted } from './greeted.ts';
import { certificateRequest12, leafOf12 } from './messages.ts';
import { finiteFieldSuites, handshakeType } from './numbers.ts';
import { shownBy } from './shown.ts';
import { checkProof, readLeaf } from './signature.ts';
import { WireReader } from './wire.ts';

/** Named curve (RFC 8422 section 5.4). */
const namedCurve = 3;

/**
 * The rest of the server's first flight in TLS 1.2 (RFC 5246 section 7.3): Certificate,
 * ServerKeyExchange, CertificateRequest, ServerHelloDone. All of it is in clear. Throws ProbeFailure.
 */
export async function flight12({ records, input, hello }: Greeted<'1.2'>): Promise<Shown> {
  const certificate = await records.message();
  expect(certificate.type, handshakeType.certificate, 'its certificate');
  const leaf = readLeaf(leafOf12(certificate.body));
  const exchange = await records.message();
  expect(exchange.type, handshakeType.serverKeyExchange, 'its key');
  const { params, scheme, signature } = keyExchange(
    exchange.body,
    finiteFieldSuites.has(hello.suiteNumber),
  );
  const signed = Buffer.concat([input.random, hello.random, params]);
  checkProof(leaf, { version: '1.2', scheme, signed, signature });
  let next = await records.message();
  const request =
    next.type === handshakeType.certificateRequest ? certificateRequest12(next.body) : undefined;
  if (request !== undefined) next = await records.message();
  expect(next.type, handshakeType.serverHelloDone, 'the end of its hello');
  return shownBy(leaf, request, '1.2');
}

/** ServerKeyExchange (RFC 8422 section 5.4, RFC 5246 section 7.4.3). */
function keyExchange(
  body: Buffer,
  finiteField: boolean,
): { readonly params: Buffer; readonly scheme: number; readonly signature: Buffer } {
  const reader = new WireReader(body, 'the key exchange');
  if (finiteField) for (const _part of ['p', 'g', 'Y']) reader.vector(2);
  else {
    if (reader.uint(1) !== namedCurve)
      throw new ProbeFailure('the server chose a curve without a name');
    reader.uint(2);
    reader.vector(1);
  }
  const params = body.subarray(0, reader.offset);
  const scheme = reader.uint(2);
  const signature = reader.vector(2);
  reader.end();
  return { params, scheme, signature };
}

function expect(type: number, wanted: number, what: string): void {
  if (type !== wanted)
    throw new ProbeFailure(`the server sent message ${type} in place of ${what}`);
}
