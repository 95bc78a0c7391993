import { createHash, X509Certificate } from 'node:crypto';
import type { ClientHttp2Session } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  certificatesIn,
  connectSds,
  SdsStream,
  type Answer,
  type ReceivedSecret,
} from '../test/support/sds-client.ts';

// A process that takes secrets as so many proxies would: each connection has a stream for the
// certificate and one for the roots. It comes back when a stream ends.
//
//   node sds-proxy.js AGENT_SOCKET CONNECTIONS

/** One secret that a stream was sent. */
export interface SentSecret {
  readonly atMs: number;
  readonly refused: boolean;
  readonly version: string;
  /** SHA-256 of its certificates, hex. */
  readonly certificates: readonly string[];
  /** Of the first certificate, milliseconds. */
  readonly notAfterMs: number;
}

export interface SeenStream {
  readonly name: string;
  /** How often it was opened anew. */
  readonly reopened: number;
  readonly secrets: readonly SentSecret[];
}

export type ToProxy =
  | { readonly type: 'refuse roots' }
  /** Accepts everything again, on new connections. */
  | { readonly type: 'accept' }
  | { readonly type: 'report'; readonly number: number };
export interface FromProxy {
  readonly type: 'reported';
  readonly number: number;
  readonly streams: readonly SeenStream[];
}

const [, , socketPath, connections] = process.argv as [string, string, string, string];
const names = ['default', 'ROOTCA'];
const streams: { name: string; reopened: number; secrets: SentSecret[] }[] = [];
const sessions = new Set<ClientHttp2Session>();
const contents = new Map<string, Pick<SentSecret, 'certificates' | 'notAfterMs'>>();
let refusing = false;

process.on('disconnect', () => process.exit(0));
process.on('SIGINT', () => undefined);
process.on('message', (message: ToProxy) => {
  if (message.type === 'report')
    process.send?.({ type: 'reported', number: message.number, streams } satisfies FromProxy);
  else {
    refusing = message.type === 'refuse roots';
    if (!refusing) for (const session of sessions) session.destroy();
  }
});

for (let index = 0; index < Number(connections); index += 1) void connection(index);

async function connection(index: number): Promise<void> {
  const seen = names.map((name) => ({ name, reopened: -1, secrets: [] as SentSecret[] }));
  streams.push(...seen);
  for (;;) {
    const session = connectSds(socketPath);
    sessions.add(session);
    // a session whose connection failed does not always tell that it is closed
    await new Promise<void>((resolve) => {
      session.once('close', resolve);
      for (const stream of seen) open(session, { index, stream, onEnd: resolve });
    });
    session.destroy();
    sessions.delete(session);
    // as Envoy does, not all at once
    await sleep(100 + Math.random() * 400);
  }
}

interface Opening {
  readonly index: number;
  readonly stream: { readonly name: string; reopened: number; readonly secrets: SentSecret[] };
  /** Both streams of a connection come back together. */
  readonly onEnd: () => void;
}

function open(session: ClientHttp2Session, { index, stream, onEnd }: Opening): void {
  stream.reopened += 1;
  new SdsStream(session, {
    node: `proxy-${index}`,
    name: stream.name,
    onSecret: (secret) => {
      const refused = refusing && stream.name === 'ROOTCA';
      const { version } = secret;
      stream.secrets.push({ atMs: Date.now(), refused, version, ...contentOf(secret) });
      const answer: Answer = refused ? { refuse: 'played by the drill' } : 'acknowledge';
      return answer;
    },
    onEnd,
  });
}

/** Read once for each version. */
function contentOf(secret: ReceivedSecret): Pick<SentSecret, 'certificates' | 'notAfterMs'> {
  const known = contents.get(secret.version);
  if (known !== undefined) return known;
  const certificates = certificatesIn(secret).map((pem) => new X509Certificate(pem));
  const content = {
    certificates: certificates.map(({ raw }) => createHash('sha256').update(raw).digest('hex')),
    notAfterMs: Date.parse(certificates[0]?.validTo ?? ''),
  };
  contents.set(secret.version, content);
  return content;
}
