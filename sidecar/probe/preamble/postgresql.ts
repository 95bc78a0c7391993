import type { ByteStream } from '../byte-stream.ts';
import { ProbeFailure } from '../failure.ts';

/** SSLRequest: length 8, code 80877103 (PostgreSQL, frontend/backend protocol, message formats). */
const sslRequest = Buffer.from('0000000804d2162f', 'hex');

export async function startPostgresql(stream: ByteStream): Promise<void> {
  stream.write(sslRequest);
  const answer = (await stream.read(1)).toString('latin1');
  if (answer === 'N') throw new ProbeFailure('the server has TLS switched off');
  if (answer !== 'S')
    throw new ProbeFailure('the server does not speak the protocol of PostgreSQL');
}
