import type { ConsumerHandle, ConsumerRegistry } from '../ports/consumers.ts';
import type { Identity } from '../ports/entries.ts';
import type { HeldX509Svid } from '../ports/svids.ts';
import type { Session } from './session.ts';

/**
 * The kind of consumer that readers of a method are reported as, and the set that their digests
 * cover.
 */
export interface ReaderKind {
  readonly consumer: 'workload-stream' | 'proxy';
  readonly takes: 'roots' | 'jwt';
}

interface Line {
  readonly handle: ConsumerHandle;
  pending: string;
  confirmed: string;
}

/**
 * Tells the consumer registry what the reader of one stream has, per identity. Of a reader that the
 * source reports it tells nothing.
 */
export class StreamConsumers {
  readonly #registry: ConsumerRegistry;
  readonly #session: Session;
  readonly #kind: ReaderKind | 'by source';
  readonly #holder: string;
  readonly #lines = new Map<string, Line>();
  #capabilities: readonly string[] = [];
  #confirmsLoading = false;
  #loaded = '';

  constructor(registry: ConsumerRegistry, session: Session, kind: ReaderKind | 'by source') {
    const { pid, peer } = session.connection;
    this.#registry = registry;
    this.#session = session;
    this.#kind = kind;
    this.#holder = `${pid} ${peer?.image.startTime ?? ''}`;
  }

  /** Marks a client that reports what it has in force. Its reading alone then proves nothing. */
  expectLoading(): void {
    this.#confirmsLoading = true;
  }

  /** `setDigest` is the digest of the set of authorities in the message, if it has one. */
  sent(
    identities: readonly Identity[],
    setDigest: Buffer | undefined,
    svids: readonly HeldX509Svid[],
  ): void {
    if (this.#kind === 'by source') return;
    const ids = new Set(identities.map((each) => each.spiffeId.toString()));
    for (const [id, line] of this.#lines) if (!ids.has(id)) this.#drop(id, line);
    const text = setDigest?.toString('hex');
    for (const id of ids) {
      const line = this.#lineFor(id, this.#kind);
      if (setDigest === undefined || text === undefined || line.pending === text) continue;
      line.pending = text;
      line.handle.pending(setDigest);
    }
    for (const svid of svids)
      this.#lines.get(svid.identity.spiffeId.toString())?.handle.given(svid.notAfter);
  }

  /** Call it when reading is proven. A client that reports loading counts only after its report. */
  read(setDigest: Buffer): void {
    if (!this.#confirmsLoading || this.#loaded === setDigest.toString('hex'))
      this.#confirm(setDigest);
  }

  /** Call it when the client reports what it has in force. */
  loaded(setDigest: Buffer): void {
    this.#loaded = setDigest.toString('hex');
    this.#confirm(setDigest);
  }

  /** Call it when the client reports that it refused the last update. */
  refused(reason: string): void {
    for (const line of this.#lines.values())
      if (line.pending !== line.confirmed && line.pending !== '')
        line.handle.refused(Buffer.from(line.pending, 'hex'), reason);
  }

  capable(capabilities: readonly string[]): void {
    this.#capabilities = capabilities;
    for (const { handle } of this.#lines.values()) handle.capable(capabilities);
  }

  /**
   * Call it when the client reports that it keeps nothing, so that it leaves without a certificate.
   */
  keepsNothing(): void {
    for (const { handle } of this.#lines.values()) handle.keepsNothing();
  }

  lineOf(spiffeId: string): string | undefined {
    return this.#lines.get(spiffeId)?.handle.id;
  }

  stalled(reason: string): void {
    for (const { handle } of this.#lines.values()) handle.stalled(reason);
  }

  remove(): void {
    for (const [id, line] of this.#lines) this.#drop(id, line);
  }

  #confirm(digest: Buffer): void {
    const text = digest.toString('hex');
    for (const line of this.#lines.values()) {
      if (line.confirmed === text || line.pending !== text) continue;
      line.confirmed = text;
      line.handle.confirmed(digest);
    }
  }

  #drop(id: string, line: Line): void {
    line.handle.remove();
    this.#lines.delete(id);
  }

  #lineFor(id: string, kind: ReaderKind): Line {
    const known = this.#lines.get(id);
    if (known !== undefined) return known;
    const { connection, rpc } = this.#session;
    const path = connection.peer?.image.program;
    const handle = this.#registry.register({
      kind: kind.consumer,
      spiffeId: id,
      takes: kind.takes,
      holder: this.#holder,
      description: `${rpc} pid ${connection.pid} uid ${connection.uid}${path === undefined ? '' : ` ${path}`}`,
    });
    handle.capable(this.#capabilities);
    const line = { handle, pending: '', confirmed: '' };
    this.#lines.set(id, line);
    return line;
  }
}
