import type { ByteStream } from '../byte-stream.ts';
import { ProbeFailure } from '../failure.ts';

/** Capabilities of the protocol. */
const capability = { protocol41: 0x200, ssl: 0x800, secureConnection: 0x8000 } as const;
const maximumGreeting = 1_024;
const protocolVersion = 10;
const utf8mb4 = 45;

/** Greeting (HandshakeV10), then SSLRequest. */
export async function startMysql(stream: ByteStream): Promise<void> {
  const header = await stream.read(4);
  const length = header.readUIntLE(0, 3);
  if (length === 0 || length > maximumGreeting) throw foreign();
  const greeting = await stream.read(length);
  if (greeting[0] === 0xff) throw new ProbeFailure('the server refuses connections from here');
  if (greeting[0] !== protocolVersion) throw foreign();
  const versionEnd = greeting.indexOf(0, 1);
  // thread ID, first part of the nonce, filler
  const flags = versionEnd + 1 + 4 + 8 + 1;
  if (versionEnd < 0 || greeting.length < flags + 2) throw foreign();
  if ((greeting.readUInt16LE(flags) & capability.ssl) === 0)
    throw new ProbeFailure('the server has TLS switched off');
  const request = Buffer.alloc(36);
  request.writeUIntLE(32, 0, 3);
  request[3] = 1;
  request.writeUInt32LE(capability.protocol41 | capability.ssl | capability.secureConnection, 4);
  request.writeUInt32LE(maximumGreeting, 8);
  request[12] = utf8mb4;
  stream.write(request);
}

const foreign = (): ProbeFailure =>
  new ProbeFailure('the server does not speak the protocol of MySQL');
