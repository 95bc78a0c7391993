import { createPublicKey, diffieHellman, generateKeyPairSync, randomBytes } from 'node:crypto';
import {
  digestOf,
  finishedOf,
  KeySchedule,
  RecordKey,
} from '../../sidecar/probe/tls/key-schedule.ts';
import { suites13, type Suite } from '../../sidecar/probe/tls/numbers.ts';
import { readExtensions, uint, vector, WireReader } from '../../sidecar/probe/tls/wire.ts';

/** The flight of a server that says whatever a test wants, right or wrong. */
export interface FlightShape {
  readonly leafDer: Buffer;
  readonly scheme: number;
  readonly sign: (signed: Buffer) => Buffer;
  /** The body of a CertificateRequest. */
  readonly request?: Buffer;
  /** Changes the messages before they are sent; TLS 1.3: below the keys. */
  readonly change?: (messages: readonly Buffer[]) => readonly Buffer[];
  /** Changes Finished (TLS 1.3). */
  readonly finish?: (finished: Buffer) => Buffer;
  /** Changes the random of ServerHello. */
  readonly random?: (random: Buffer) => Buffer;
}

interface ReadHello {
  readonly message: Buffer;
  readonly random: Buffer;
  readonly sessionId: Buffer;
  readonly x25519: Buffer;
}

export const message = (type: number, body: Buffer): Buffer =>
  Buffer.concat([Buffer.of(type), vector(3, body)]);

export const record = (type: number, content: Buffer): Buffer =>
  Buffer.concat([Buffer.of(type, 3, 3), vector(2, content)]);

/** The first record of a client, which is a whole ClientHello. */
export function readHello(first: Buffer): ReadHello {
  const whole = first.subarray(5);
  const reader = new WireReader(whole.subarray(4), 'hello');
  reader.take(2);
  const random = reader.take(32);
  const sessionId = reader.vector(1);
  reader.vector(2);
  reader.vector(1);
  const extensions = readExtensions(reader.enter(2), 'hello');
  const shares = new WireReader(extensions.get(51) as Buffer, 'shares').enter(2);
  shares.take(2);
  return { message: whole, random, sessionId, x25519: shares.vector(2) };
}

const certificateBody13 = (leafDer: Buffer): Buffer =>
  Buffer.concat([vector(1), vector(3, vector(3, leafDer), vector(2))]);

/** All bytes of a server's flight in TLS 1.3, with TLS_AES_128_GCM_SHA256 and X25519. */
export function flight13(first: Buffer, shape: FlightShape): Buffer {
  const hello = readHello(first);
  const suite = suites13.get(0x1301) as Suite;
  const { publicKey, privateKey } = generateKeyPairSync('x25519');
  const prefix = Buffer.from('302a300506032b656e032100', 'hex');
  const peer = createPublicKey({
    key: Buffer.concat([prefix, hello.x25519]),
    type: 'spki',
    format: 'der',
  });
  const shared = diffieHellman({ privateKey, publicKey: peer });
  const own = publicKey.export({ type: 'spki', format: 'der' }).subarray(prefix.length);
  const serverHello = serverHello13(hello, own, shape);
  const transcript = [hello.message, serverHello];
  const digest = (): Buffer => digestOf('sha256', Buffer.concat(transcript));
  const secrets = new KeySchedule('sha256', shared).handshake(digest());
  const messages = [message(8, vector(2))];
  if (shape.request !== undefined) messages.push(message(13, shape.request));
  messages.push(message(11, certificateBody13(shape.leafDer)));
  transcript.push(...messages);
  const signed = Buffer.concat([
    Buffer.alloc(64, 0x20),
    Buffer.from('TLS 1.3, server CertificateVerify\0'),
    digest(),
  ]);
  const proof = Buffer.concat([uint(2, shape.scheme), vector(2, shape.sign(signed))]);
  messages.push(message(15, proof));
  transcript.push(messages.at(-1) as Buffer);
  const finished = finishedOf('sha256', secrets.server, digest());
  messages.push(message(20, shape.finish?.(finished) ?? finished));
  const key = new RecordKey(suite, secrets.server);
  const sent = shape.change?.(messages) ?? messages;
  return Buffer.concat([record(22, serverHello), ...sent.map((each) => key.seal(22, each))]);
}

function serverHello13(hello: ReadHello, publicKey: Buffer, { random }: FlightShape): Buffer {
  const plain = randomBytes(32);
  const extension = (type: number, content: Buffer): Buffer =>
    Buffer.concat([uint(2, type), vector(2, content)]);
  const body = Buffer.concat([
    uint(2, 0x0303),
    random?.(plain) ?? plain,
    vector(1, hello.sessionId),
    uint(2, 0x1301),
    Buffer.of(0),
    vector(
      2,
      extension(43, uint(2, 0x0304)),
      extension(51, Buffer.concat([uint(2, 0x001d), vector(2, publicKey)])),
    ),
  ]);
  return message(2, body);
}

/** All bytes of a server's first flight in TLS 1.2, with ECDHE over X25519. */
export function flight12(first: Buffer, shape: FlightShape): Buffer {
  const hello = readHello(first);
  const plain = randomBytes(32);
  const random = shape.random?.(plain) ?? plain;
  const params = Buffer.concat([Buffer.of(3), uint(2, 0x001d), vector(1, randomBytes(32))]);
  const signed = Buffer.concat([hello.random, random, params]);
  const exchange = Buffer.concat([params, uint(2, shape.scheme), vector(2, shape.sign(signed))]);
  const messages = [
    message(2, Buffer.concat([uint(2, 0x0303), random, vector(1), uint(2, 0xc02b), Buffer.of(0)])),
    message(11, vector(3, vector(3, shape.leafDer))),
    message(12, exchange),
    ...(shape.request === undefined ? [] : [message(13, shape.request)]),
    message(14, Buffer.alloc(0)),
  ];
  return record(22, Buffer.concat(shape.change?.(messages) ?? messages));
}
