import type { ByteStream } from '../byte-stream.ts';
import { ProbeFailure } from '../failure.ts';
import type { ProvenListener } from '../listener.ts';
import { startLdap } from './ldap.ts';
import { startMysql } from './mysql.ts';
import { startPostgresql } from './postgresql.ts';
import { startSmtp } from './smtp.ts';

type Protocol = ProvenListener['protocol'];

const preambles: Readonly<Record<Protocol, (stream: ByteStream) => Promise<void>>> = {
  tls: () => Promise.resolve(),
  postgresql: startPostgresql,
  mysql: startMysql,
  smtp: startSmtp,
  ldap: startLdap,
};

/**
 * Says what a protocol wants said before TLS. Afterwards the server waits for a ClientHello. Throws
 * ProbeFailure.
 */
export async function startTls(protocol: Protocol, stream: ByteStream): Promise<void> {
  await preambles[protocol](stream);
  // bytes in clear behind the consent to TLS were put there by somebody on the way
  if (stream.pending > 0) throw new ProbeFailure('the server sent more before TLS than it should');
}
