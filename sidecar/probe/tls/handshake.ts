import { randomBytes } from 'node:crypto';
import type { ByteStream } from '../byte-stream.ts';
import { ProbeFailure } from '../failure.ts';
import type { Shown } from '../listener.ts';
import { clientHello, firstShares, type HelloInput } from './client-hello.ts';
import { createKeyShare } from './groups.ts';
import { flight12 } from './flight-12.ts';
import { flight13 } from './flight-13.ts';
import { digestOf } from './key-schedule.ts';
import { contentType, handshakeType, userCanceled } from './numbers.ts';
import { Records } from './records.ts';
import { readServerHello, type ServerHello } from './server-hello.ts';
import { vector } from './wire.ts';

/** The second hello stays in one record with it. Servers send some hundred bytes. */
const maximumCookie = 8_192;

export interface HandshakeOptions {
  readonly serverName: string | undefined;
  readonly applicationProtocols: readonly string[];
}

/**
 * One TLS handshake as a client without a certificate, as far as it shows what the server presents.
 * The server's signature over this handshake is checked, so that what is shown is also what the
 * server has the key of; no chain is judged. At its end the client says goodbye, so that the server
 * has no reason to log. Throws ProbeFailure.
 */
export async function handshake(stream: ByteStream, options: HandshakeOptions): Promise<Shown> {
  const records = new Records(stream);
  const input: HelloInput = {
    ...options,
    random: randomBytes(32),
    sessionId: randomBytes(32),
    keyShares: firstShares.map(createKeyShare),
    cookie: undefined,
  };
  const first = clientHello(input);
  records.writeFirst(first);
  const answer = await records.message();
  const hello = readServerHello(answer, input.sessionId);
  const transcript = [first, answer.whole];
  if (hello.kind === '1.3') return flight13({ records, input, hello, transcript });
  if (hello.kind === 'retry')
    return secondHello(records, input, hello, transcript as [Buffer, Buffer]);
  const shown = await flight12({ records, input, hello, transcript });
  // a warning: this end was never wrong
  records.write(contentType.alert, Buffer.of(1, userCanceled));
  records.write(contentType.alert, Buffer.of(1, 0));
  return shown;
}

/** RFC 8446 section 4.1.4. The first ClientHello stands in the transcript by its digest. */
async function secondHello(
  records: Records,
  input: HelloInput,
  retry: Extract<ServerHello, { readonly kind: 'retry' }>,
  [first, request]: readonly [Buffer, Buffer],
): Promise<Shown> {
  const { group, cookie, suite } = retry;
  if (group === undefined && cookie === undefined)
    throw new ProbeFailure('the server asks for another hello without a reason');
  if (cookie !== undefined && cookie.length > maximumCookie)
    throw new ProbeFailure(`the server sent a cookie of ${cookie.length} bytes`);
  if (group !== undefined && input.keyShares.some((share) => share.group === group))
    throw new ProbeFailure('the server asks for a key that it has');
  const changed = {
    ...input,
    cookie,
    keyShares: group === undefined ? input.keyShares : [createKeyShare(group)],
  };
  const second = clientHello(changed);
  records.write(contentType.handshake, second);
  const answer = await records.message();
  const hello = readServerHello(answer, input.sessionId);
  if (hello.kind !== '1.3' || hello.suiteNumber !== retry.suiteNumber)
    throw new ProbeFailure('the server contradicts its first answer');
  const digest = digestOf(suite.hash, first);
  const start = Buffer.concat([Buffer.of(handshakeType.messageHash), vector(3, digest)]);
  const transcript = [start, request, second, answer.whole];
  return flight13({ records, input: changed, hello, transcript });
}
