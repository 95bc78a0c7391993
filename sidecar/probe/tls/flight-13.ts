import { timingSafeEqual } from 'node:crypto';
import { ProbeFailure } from '../failure.ts';
import type { Shown } from '../listener.ts';
import type { Greeted } from './greeted.ts';
import { askedExtensions } from './client-hello.ts';
import { digestOf, finishedOf, KeySchedule, RecordKey } from './key-schedule.ts';
import type { TrafficSecrets } from './key-schedule.ts';
import { certificateRequest13, leafOf13, type CertificateRequest } from './messages.ts';
import { contentType, handshakeType, type Suite } from './numbers.ts';
import type { HandshakeMessage, Records } from './records.ts';
import { shownBy } from './shown.ts';
import { checkProof, readLeaf } from './signature.ts';
import { readExtensions, vector, WireReader } from './wire.ts';

/** What the server's CertificateVerify signs before the transcript (RFC 8446 section 4.4.3). */
const proofContext = Buffer.concat([
  Buffer.alloc(64, 0x20),
  Buffer.from('TLS 1.3, server CertificateVerify\0', 'latin1'),
]);

/** The messages of one handshake, and their digest at any point. */
class Transcript {
  readonly #hash: Suite['hash'];
  readonly #messages: Buffer[];

  constructor(hash: Suite['hash'], messages: readonly Buffer[]) {
    this.#hash = hash;
    this.#messages = [...messages];
  }

  add(message: Buffer): void {
    this.#messages.push(message);
  }

  digest(): Buffer {
    return digestOf(this.#hash, Buffer.concat(this.#messages));
  }
}

/** The rest of the server's flight in TLS 1.3 (RFC 8446 section 2). Throws ProbeFailure. */
export async function flight13(greeted: Greeted<'1.3'>): Promise<Shown> {
  const { records, input, hello } = greeted;
  const { suite } = hello;
  const share = input.keyShares.find(({ group }) => group === hello.group);
  if (share === undefined) throw new ProbeFailure('the server chose a key that was not offered');
  const transcript = new Transcript(suite.hash, greeted.transcript);
  const schedule = new KeySchedule(suite.hash, share.agree(hello.publicKey));
  const secrets = schedule.handshake(transcript.digest());
  records.protect(new RecordKey(suite, secrets.server), new RecordKey(suite, secrets.client));

  checkExtensions(await expected(records, handshakeType.encryptedExtensions, transcript));
  let message = await records.message();
  let request: CertificateRequest | undefined;
  if (message.type === handshakeType.certificateRequest) {
    request = certificateRequest13(message.body);
    transcript.add(message.whole);
    message = await records.message();
  }
  if (message.type !== handshakeType.certificate)
    throw new ProbeFailure(`the server sent message ${message.type} in place of its certificate`);
  const leaf = readLeaf(leafOf13(message.body));
  transcript.add(message.whole);
  const signedSoFar = transcript.digest();
  const verify = await expected(records, handshakeType.certificateVerify, transcript);
  checkProof(leaf, { version: '1.3', ...signatureIn(verify, signedSoFar) });
  await checkFinished(records, suite, secrets, transcript);
  sayGoodbye({ records, suite, secrets, schedule, transcript, request });
  return shownBy(leaf, request, '1.3');
}

async function expected(
  records: Records,
  type: number,
  transcript: Transcript,
): Promise<HandshakeMessage> {
  const message = await records.message();
  if (message.type !== type)
    throw new ProbeFailure(`the server sent message ${message.type} in place of ${type}`);
  transcript.add(message.whole);
  return message;
}

function checkExtensions({ body }: HandshakeMessage): void {
  const reader = new WireReader(body, 'the list of extensions');
  readExtensions(reader.enter(2), 'the server', askedExtensions);
  reader.end();
}

function signatureIn(
  { body }: HandshakeMessage,
  transcriptHash: Buffer,
): { readonly scheme: number; readonly signature: Buffer; readonly signed: Buffer } {
  const reader = new WireReader(body, 'the signature');
  const scheme = reader.uint(2);
  const signature = reader.vector(2);
  reader.end();
  return { scheme, signature, signed: Buffer.concat([proofContext, transcriptHash]) };
}

async function checkFinished(
  records: Records,
  suite: Suite,
  secrets: TrafficSecrets,
  transcript: Transcript,
): Promise<void> {
  const wanted = finishedOf(suite.hash, secrets.server, transcript.digest());
  const { body } = await expected(records, handshakeType.finished, transcript);
  if (body.length !== wanted.length || !timingSafeEqual(body, wanted))
    throw new ProbeFailure('the server saw another handshake than this one');
}

interface Goodbye {
  readonly records: Records;
  readonly suite: Suite;
  readonly secrets: TrafficSecrets;
  readonly schedule: KeySchedule;
  readonly transcript: Transcript;
  readonly request: CertificateRequest | undefined;
}

/**
 * Ends the handshake as a client without a certificate, and closes. A server that can do without
 * one has nothing to complain about.
 */
function sayGoodbye({ records, suite, secrets, schedule, transcript, request }: Goodbye): void {
  const dataSecret = schedule.clientData(transcript.digest());
  const flight: Buffer[] = [];
  if (request !== undefined) {
    const none = Buffer.concat([vector(1, request.context), vector(3)]);
    flight.push(Buffer.concat([Buffer.of(handshakeType.certificate), vector(3, none)]));
    transcript.add(flight[0] as Buffer);
  }
  const finished = finishedOf(suite.hash, secrets.client, transcript.digest());
  flight.push(Buffer.concat([Buffer.of(handshakeType.finished), vector(3, finished)]));
  records.write(contentType.handshake, Buffer.concat(flight));
  records.protectWrites(new RecordKey(suite, dataSecret));
  records.write(contentType.alert, Buffer.of(1, 0));
}
