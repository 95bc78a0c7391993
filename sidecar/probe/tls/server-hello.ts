import { ProbeFailure } from '../failure.ts';
import { askedExtensions } from './client-hello.ts';
import {
  extensionType,
  handshakeType,
  suites12,
  suites13,
  version12,
  version13,
  type Suite,
} from './numbers.ts';
import type { HandshakeMessage } from './records.ts';
import { readExtensions, WireReader } from './wire.ts';

/** The random of a HelloRetryRequest (RFC 8446 section 4.1.3). */
const retryRandom = Buffer.from(
  'cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c',
  'hex',
);
/** The last octets of the random of a server that was made to speak an older version. */
const downgradeMark = Buffer.from('DOWNGRD', 'latin1');

export type ServerHello =
  | {
      readonly kind: 'retry';
      readonly suite: Suite;
      readonly suiteNumber: number;
      readonly group: number | undefined;
      readonly cookie: Buffer | undefined;
    }
  | {
      readonly kind: '1.3';
      readonly suite: Suite;
      readonly suiteNumber: number;
      readonly group: number;
      readonly publicKey: Buffer;
    }
  | { readonly kind: '1.2'; readonly random: Buffer; readonly suiteNumber: number };

/** Reads a ServerHello or HelloRetryRequest (RFC 8446 section 4.1.3). Throws ProbeFailure. */
export function readServerHello(message: HandshakeMessage, sessionId: Buffer): ServerHello {
  if (message.type !== handshakeType.serverHello)
    throw new ProbeFailure(`the server sent message ${message.type} in place of its hello`);
  const reader = new WireReader(message.body, 'the hello');
  const version = reader.uint(2);
  const random = Buffer.from(reader.take(32));
  const session = reader.vector(1);
  const suiteNumber = reader.uint(2);
  if (reader.uint(1) !== 0) throw new ProbeFailure('the server chose a compression');
  const extensions = reader.more
    ? readExtensions(reader.enter(2), 'the hello of the server', askedExtensions)
    : new Map<number, Buffer>();
  reader.end();
  if (version !== version12)
    throw new ProbeFailure('the server speaks a version of TLS before 1.2');
  const chosen = extensions.get(extensionType.supportedVersions);
  if (chosen === undefined) return hello12(random, suiteNumber);
  if (chosen.length !== 2 || chosen.readUInt16BE(0) !== version13)
    throw new ProbeFailure('the server chose a version of TLS that was not offered');
  const suite = suites13.get(suiteNumber);
  if (suite === undefined)
    throw new ProbeFailure('the server chose a cipher suite that was not offered');
  if (!session.equals(sessionId))
    throw new ProbeFailure('the hello of the server has the session ID of another');
  return random.equals(retryRandom)
    ? retry(extensions, suite, suiteNumber)
    : { kind: '1.3', suite, suiteNumber, ...keyShareIn(extensions) };
}

function hello12(random: Buffer, suiteNumber: number): ServerHello {
  if (!suites12.includes(suiteNumber))
    throw new ProbeFailure('the server chose a cipher suite that was not offered');
  if (random.subarray(24, 31).equals(downgradeMark))
    throw new ProbeFailure('somebody on the way forced an older version of TLS');
  return { kind: '1.2', random, suiteNumber };
}

function retry(
  extensions: ReadonlyMap<number, Buffer>,
  suite: Suite,
  suiteNumber: number,
): ServerHello {
  const share = extensions.get(extensionType.keyShare);
  const cookie = extensions.get(extensionType.cookie);
  if (share !== undefined && share.length !== 2)
    throw new ProbeFailure('the server asks for another hello in a malformed way');
  return {
    kind: 'retry',
    suite,
    suiteNumber,
    group: share?.readUInt16BE(0),
    cookie: cookie === undefined ? undefined : new WireReader(cookie, 'the cookie').vector(2),
  };
}

function keyShareIn(extensions: ReadonlyMap<number, Buffer>): {
  readonly group: number;
  readonly publicKey: Buffer;
} {
  const share = extensions.get(extensionType.keyShare);
  if (share === undefined) throw new ProbeFailure('the hello of the server has no key');
  const reader = new WireReader(share, 'the key share');
  const group = reader.uint(2);
  const publicKey = reader.vector(2);
  reader.end();
  return { group, publicKey };
}
