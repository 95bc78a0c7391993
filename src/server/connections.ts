import type { Duplex } from 'node:stream';
import type { Clock } from '../common/runtime/index.ts';
import { PkiError } from '../common/errors/index.ts';
import type { Caller, CertificateCaller } from '../services/caller.ts';
import type { Callers, EndedCallers } from '../services/contract.ts';

/** One accepted connection. Its caller is resolved once and re-checked per call. */
export interface Connection {
  /** Unique for the life of the process; stands in for the peer address in grpc-js, so that a call finds its connection. */
  readonly key: string;
  readonly peer: string;
  readonly socket: Duplex;
  /** SHA-256 of the certificate that the server presented; absent on the local socket. */
  readonly serverCertificateSha256: Buffer | undefined;
  /** The caller, or the error that keeps it from being one. */
  readonly caller: Promise<Caller>;
  /** Ends every open stream with this error, then the connection. */
  readonly onClose: Set<(error: PkiError) => void>;
}

/**
 * Owner of all connections. A connection ends with its caller's certificate (notAfter), and at once when the caller loses
 * its standing (ban, eviction, supersession, its root leaving the bundle).
 */
export class Connections {
  readonly #byKey = new Map<string, Connection>();
  readonly #bySpiffeId = new Map<string, Set<Connection>>();
  readonly #callers: Callers;
  readonly #clock: Clock;
  #next = 1;

  constructor(callers: Callers, clock: Clock) {
    this.#callers = callers;
    this.#clock = clock;
    callers.onEnded((ended) => void this.#onEnded(ended));
  }

  get size(): number {
    return this.#byKey.size;
  }

  add(input: { readonly socket: Duplex; readonly peer: string; readonly serverCertificateSha256?: Buffer; readonly caller: Promise<Caller> }): Connection {
    const key = `connection-${this.#next++}`;
    const connection: Connection = { key, peer: input.peer, socket: input.socket, serverCertificateSha256: input.serverCertificateSha256, caller: input.caller, onClose: new Set() };
    this.#byKey.set(key, connection);
    let cancelExpiry: (() => void) | undefined;
    let spiffeId: string | undefined;
    input.socket.once('close', () => {
      cancelExpiry?.();
      this.#byKey.delete(key);
      if (spiffeId !== undefined) this.#forget(spiffeId, connection);
    });
    // grpc-js knows a connection by the address of its socket alone
    Object.defineProperties(input.socket, { remoteAddress: { value: key, configurable: true }, remotePort: { value: undefined, configurable: true } });
    input.caller.then(
      (caller) => {
        if (caller.class === 'anonymous' || caller.class === 'local' || input.socket.destroyed) return;
        spiffeId = caller.spiffeId;
        this.#remember(spiffeId, connection);
        cancelExpiry = this.#closeAt(connection, caller.notAfter);
      },
      // the refusal reaches the peer with its first call; until then the connection may do nothing
      () => {},
    );
    return connection;
  }

  byKey(key: string): Connection | undefined {
    return this.#byKey.get(key);
  }

  close(connection: Connection, error: PkiError): void {
    for (const end of connection.onClose) end(error);
    connection.onClose.clear();
    // the trailers of the streams go out first
    this.#clock.after(50, () => connection.socket.destroy());
  }

  closeAll(error: PkiError): void {
    for (const connection of this.#byKey.values()) this.close(connection, error);
  }

  #closeAt(connection: Connection, notAfter: number): () => void {
    // notAfter is inclusive: the certificate is good through that second
    const delayMs = (notAfter + 1) * 1000 - this.#clock.nowMs();
    let cancel = this.#clock.after(delayMs, () => {
      if (this.#clock.now() > notAfter) this.close(connection, new PkiError('CERTIFICATE_EXPIRED', 'the certificate of this connection has expired'));
      else cancel = this.#closeAt(connection, notAfter);
    });
    return () => cancel();
  }

  async #onEnded(ended: EndedCallers): Promise<void> {
    if (ended.kind === 'recheck') {
      for (const connection of this.#byKey.values()) await this.#recheck(connection);
      return;
    }
    for (const connection of [...(this.#bySpiffeId.get(ended.spiffeId) ?? [])]) {
      const caller = await connection.caller;
      if (ended.beforeGeneration !== undefined && caller.class === 'agent' && caller.generation >= ended.beforeGeneration) continue;
      this.close(connection, ended.error);
    }
  }

  async #recheck(connection: Connection): Promise<void> {
    try {
      const caller = await connection.caller;
      if (caller.class !== 'anonymous' && caller.class !== 'local') await this.#callers.stillStands(caller satisfies CertificateCaller);
    } catch (thrown) {
      this.close(connection, PkiError.from(thrown));
    }
  }

  #remember(spiffeId: string, connection: Connection): void {
    const known = this.#bySpiffeId.get(spiffeId);
    if (known === undefined) this.#bySpiffeId.set(spiffeId, new Set([connection]));
    else known.add(connection);
  }

  #forget(spiffeId: string, connection: Connection): void {
    const known = this.#bySpiffeId.get(spiffeId);
    known?.delete(connection);
    if (known?.size === 0) this.#bySpiffeId.delete(spiffeId);
  }
}
