import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { uuidv7, type Clock } from '../common/runtime/index.ts';
import { spkiOf } from '../common/x509/index.ts';
import type { LogSeal, LogSession } from '../store/ports/index.ts';

/** Signs text with the log's key in the token: ECDSA with SHA-256, as DER. */
export type LogSigner = (text: string) => Promise<Buffer>;

/**
 * Begins a session, which makes a record ours before it is in the tree. A key that exists in this
 * process only signs the records of each commit. The log's key in the token has signed that key.
 * The database never holds a key that could make such a signature.
 */
export async function openSession(dependencies: {
  readonly sign: LogSigner;
  readonly signer: string;
  readonly origin: string;
  readonly clock: Clock;
}): Promise<{ readonly session: LogSession; readonly seal: (bytes: Buffer) => Buffer }> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const startedAtMs = dependencies.clock.nowMs();
  const unsigned = {
    id: uuidv7(startedAtMs),
    spkiDer: spkiOf(publicKey),
    signer: dependencies.signer,
    startedAtMs,
  };
  const signature = await dependencies.sign(sessionStatement(unsigned, dependencies.origin));
  return { session: { ...unsigned, signature }, seal: (bytes) => sign(null, bytes, privateKey) };
}

/** The statement can not be mistaken for a checkpoint, which begins with the log's origin. */
const sessionStatement = (session: Omit<LogSession, 'signature'>, origin: string): string =>
  `meshca-audit-session-v1\n${origin}\n${session.id}\n${session.spkiDer.toString('base64')}\n${session.startedAtMs}\n`;

/** Verifies seals under sessions that the log's key has signed. Each session is verified once. */
export class SealCheck {
  readonly #origin: string;
  /** The SPKIs of the log's keys. */
  readonly #logSpkisDer: Buffer[];
  readonly #known = new Map<string, ReturnType<typeof createPublicKey> | undefined>();

  constructor(options: { readonly origin: string; readonly logSpkisDer: readonly Buffer[] }) {
    this.#origin = options.origin;
    this.#logSpkisDer = [...options.logSpkisDer];
  }

  /** Accepts another key of the log: sessions that it has signed count as well. */
  accept(logSpkiDer: Buffer): void {
    this.#logSpkisDer.push(logSpkiDer);
    for (const [id, key] of this.#known) if (key === undefined) this.#known.delete(id);
  }

  learn(sessions: readonly LogSession[]): void {
    for (const session of sessions)
      if (!this.#known.has(session.id)) this.#known.set(session.id, this.#keyOf(session));
  }

  knows(sessionId: string): boolean {
    return this.#known.has(sessionId);
  }

  holds(seal: LogSeal, bytes: Buffer): boolean {
    const key = this.#known.get(seal.sessionId);
    try {
      return key !== undefined && verify(null, bytes, key, seal.signature);
    } catch {
      return false;
    }
  }

  #keyOf(session: LogSession): ReturnType<typeof createPublicKey> | undefined {
    try {
      const statement = Buffer.from(sessionStatement(session, this.#origin));
      if (
        !this.#logSpkisDer.some((spki) =>
          verify(
            'sha256',
            statement,
            createPublicKey({ key: spki, format: 'der', type: 'spki' }),
            session.signature,
          ),
        )
      )
        return undefined;
      const key = createPublicKey({ key: session.spkiDer, format: 'der', type: 'spki' });
      return key.asymmetricKeyType === 'ed25519' ? key : undefined;
    } catch {
      return undefined;
    }
  }
}
