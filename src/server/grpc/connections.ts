import type { Duplex } from 'node:stream';
import { Crowd, type Clock } from '../../common/runtime/index.ts';
import { PkiError } from '../../common/errors/index.ts';
import type { RequestOwner } from '../../common/wire/index.ts';
import type { Caller, CertificateCaller } from '../../services/callers/caller.ts';
import { concerns } from '../../services/callers/caller-registry.ts';
import type { Callers, EndedCallers } from '../../services/services.ts';
import { GuestCalls, type GuestCallLimits } from './guest-calls.ts';

/** One accepted connection. Its caller is resolved once, and checked again at each call. */
export interface Connection {
  /**
   * Unique for the life of the process. It replaces the peer address in grpc-js, so that a call
   * finds its connection.
   */
  readonly key: string;
  readonly peer: string;
  /** Whose connections are counted together: the address, or the uid. */
  readonly holder: string;
  readonly socket: Duplex;
  /** SHA-256 of the certificate that the server presented; absent on the local socket. */
  readonly serverCertificateSha256: Buffer | undefined;
  /** The caller, or the error that refuses it. */
  readonly caller: Promise<Caller>;
  /** Ends every open stream with this error, then the connection. */
  readonly onClose: Set<(error: PkiError) => void>;
}

/**
 * The limits for guests. A guest is a connection whose caller may only attest and ask for health:
 * it has no certificate, a refused one, a workload's, or one that was not checked yet. An
 * attestation and its bundle steps need far less. The limits bound what strangers can use up:
 * places, descriptors, and messages that never end.
 */
export interface GuestLimits {
  /**
   * Maximum number of guests at once. Beyond it the oldest of the address with the most guests is
   * closed: an old guest lingers, while an attesting node is new.
   */
  readonly connections: number;
  readonly seconds: number;
  readonly bytes: number;
  /** Calls under way at once; see `GuestCalls`. */
  readonly calls: GuestCallLimits;
}

const defaultGuestLimits: GuestLimits = {
  connections: 1000,
  seconds: 120,
  bytes: 256 * 1024,
  calls: { perConnection: 16, perHolder: 256, inAll: 1024 },
};
const guestCheckMs = 200;
/**
 * Maximum number of connections of one identity; beyond it the oldest is closed. Each connection
 * may hold as many unfinished messages as it has streams. An agent has one, and another one while
 * it renews. A control plane may have many replicas.
 */
const perIdentity: Readonly<Record<CertificateCaller['class'], number>> = {
  agent: 16,
  workload: 16,
  admin: 64,
  delegate: 256,
};

/**
 * Maximum bytes of requests that are incomplete or in work, for all connections of one identity. An
 * agent may have several of the largest messages; a control plane several batches of 500 large
 * CSRs.
 */
const mebibyte = 1024 * 1024;
const requestBytes: Readonly<Record<Caller['class'], number>> = {
  anonymous: 256 * 1024,
  workload: 256 * 1024,
  agent: 16 * mebibyte,
  delegate: 64 * mebibyte,
  admin: 32 * mebibyte,
  local: 32 * mebibyte,
};

/** Milliseconds for the trailers of the streams to be sent first. */
const trailersMs = 50;
/** Milliseconds for unary calls to finish when an agent continues with its next SVID. */
const handOverMs = 30_000;

interface Guest {
  readonly connection: Connection;
  readonly untilMs: number;
}

/**
 * Owner of all connections. A connection ends with its caller's certificate (notAfter). It ends at
 * once when the caller loses its standing (ban, eviction, supersession, its root left the bundle).
 * Guests are limited.
 */
export class Connections {
  readonly #guestLimits: GuestLimits;
  readonly #guests = new Crowd<Guest>();
  readonly #guestCalls: GuestCalls;
  #guestsWatched = false;
  readonly #byKey = new Map<string, Connection>();
  /** The keys of connections whose caller is known to be no guest: nothing counts their calls. */
  readonly #withBusiness = new Set<string>();
  readonly #bySpiffeId = new Map<string, Set<Connection>>();
  readonly #owners = new Map<string, RequestOwner>();
  readonly #callers: Callers;
  readonly #clock: Clock;
  #next = 1;

  constructor(callers: Callers, clock: Clock, guestLimits: GuestLimits = defaultGuestLimits) {
    this.#guestLimits = guestLimits;
    this.#guestCalls = new GuestCalls(guestLimits.calls);
    this.#callers = callers;
    this.#clock = clock;
    callers.onEnded((ended) => void this.#onEnded(ended));
  }

  get size(): number {
    return this.#byKey.size;
  }

  add(input: {
    readonly socket: Duplex;
    readonly peer: string;
    readonly serverCertificateSha256?: Buffer;
    readonly caller: Promise<Caller>;
    /** Whose connections are counted together: the address, or the uid. */
    readonly holder: string;
    readonly guestSeconds?: number;
  }): Connection {
    const key = `connection-${this.#next++}`;
    const connection: Connection = {
      key,
      peer: input.peer,
      holder: input.holder,
      socket: input.socket,
      serverCertificateSha256: input.serverCertificateSha256,
      caller: input.caller,
      onClose: new Set(),
    };
    this.#byKey.set(key, connection);
    // a control plane may send its first batch before the look-up in the inventory has ended
    this.#owners.set(key, { name: key, bytes: requestBytes.agent });
    const guest = this.#admitGuest(connection, input);
    let cancelExpiry: (() => void) | undefined;
    let spiffeId: string | undefined;
    input.socket.once('close', () => {
      cancelExpiry?.();
      this.#byKey.delete(key);
      this.#withBusiness.delete(key);
      this.#guests.delete(guest);
      this.#owners.delete(key);
      if (spiffeId !== undefined) this.#forget(spiffeId, connection);
    });
    // grpc-js identifies a connection only by the address of its socket
    Object.defineProperties(input.socket, {
      remoteAddress: { value: key, configurable: true },
      remotePort: { value: undefined, configurable: true },
    });
    input.caller.then(
      (caller) => {
        if (hasBusiness(caller)) this.#guests.delete(guest);
        if (this.#byKey.has(key)) {
          this.#owners.set(key, ownerOf(caller, key));
          if (hasBusiness(caller)) this.#withBusiness.add(key);
        }
        if (caller.class === 'anonymous' || caller.class === 'local' || input.socket.destroyed)
          return;
        spiffeId = caller.spiffeId;
        this.#remember(spiffeId, connection, perIdentity[caller.class]);
        cancelExpiry = this.#closeAt(connection, caller.notAfter);
      },
      // the peer gets the refusal with its first call; until then the connection may do nothing
      () => {
        if (this.#byKey.has(key))
          this.#owners.set(key, { name: key, bytes: requestBytes.anonymous });
      },
    );
    return connection;
  }

  byKey(key: string): Connection | undefined {
    return this.#byKey.get(key);
  }

  /**
   * The owner whose account pays for the requests of a connection. Until its caller is known, the
   * connection itself.
   */
  requestOwner(key: string): RequestOwner | undefined {
    return this.#owners.get(key);
  }

  /**
   * Counts a call until the returned function is called. `end` is called when it is one too many of
   * a guest.
   */
  enterCall(key: string, end: (error: PkiError) => void): () => void {
    if (this.#withBusiness.has(key)) return nothing;
    const connection = this.#byKey.get(key);
    if (connection === undefined) return nothing;
    let leave: (() => void) | undefined;
    let over = false;
    const enter = (): void => {
      if (!over) leave = this.#guestCalls.enter(connection, end);
    };
    // a control plane may send its first batch before the inventory was asked
    connection.caller.then((caller) => {
      if (!hasBusiness(caller)) enter();
    }, enter);
    return () => {
      over = true;
      leave?.();
    };
  }

  close(connection: Connection, error: PkiError): void {
    this.#end(connection, error, trailersMs);
  }

  /**
   * Ends the streams at once. The socket stays for `lingerMs`, so that admitted calls can finish.
   */
  #end(connection: Connection, error: PkiError, lingerMs: number): void {
    for (const end of connection.onClose) end(error);
    connection.onClose.clear();
    this.#clock.after(lingerMs, () => connection.socket.destroy());
  }

  closeAll(error: PkiError): void {
    for (const connection of this.#byKey.values()) this.close(connection, error);
  }

  #admitGuest(
    connection: Connection,
    { holder, guestSeconds = this.#guestLimits.seconds }: { holder: string; guestSeconds?: number },
  ): Guest {
    const guest = { connection, untilMs: this.#clock.monotonicMs() + guestSeconds * 1000 };
    this.#guests.add(guest, holder);
    if (this.#guests.size > this.#guestLimits.connections) {
      const oldest = this.#guests.victim();
      if (oldest !== undefined)
        this.#dismiss(oldest, 'more strangers are connected than the server holds');
    }
    if (!this.#guestsWatched) this.#watchGuests();
    return guest;
  }

  #watchGuests(): void {
    this.#guestsWatched = this.#guests.size > 0;
    if (this.#guestsWatched) this.#clock.after(guestCheckMs, () => this.#checkGuests());
  }

  #checkGuests(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const guest of this.#guests.items()) {
      if (nowMs >= guest.untilMs)
        this.#dismiss(guest, 'the connection of a caller that may only attest was open too long');
      else if (bytesRead(guest.connection.socket) > this.#guestLimits.bytes)
        this.#dismiss(
          guest,
          `a caller that may only attest sent more than ${this.#guestLimits.bytes} bytes`,
        );
    }
    this.#watchGuests();
  }

  #dismiss(guest: Guest, why: string): void {
    this.#guests.delete(guest);
    this.close(guest.connection, new PkiError('OVERLOADED', why));
  }

  #closeAt(connection: Connection, notAfter: number): () => void {
    // notAfter is inclusive: the certificate is valid during that second
    const delayMs = (notAfter + 1) * 1000 - this.#clock.nowMs();
    let cancel = this.#clock.after(delayMs, () => {
      if (this.#clock.now() > notAfter)
        this.close(
          connection,
          new PkiError('CERTIFICATE_EXPIRED', 'the certificate of this connection has expired'),
        );
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
      if (caller.class === 'anonymous' || caller.class === 'local' || !concerns(ended, caller))
        continue;
      this.#end(
        connection,
        ended.error,
        ended.exceptSerials === undefined ? trailersMs : handOverMs,
      );
    }
  }

  async #recheck(connection: Connection): Promise<void> {
    try {
      const caller = await connection.caller;
      if (caller.class !== 'anonymous' && caller.class !== 'local')
        await this.#callers.stillStands(caller satisfies CertificateCaller);
    } catch (thrown) {
      this.close(connection, PkiError.from(thrown));
    }
  }

  #remember(spiffeId: string, connection: Connection, limit: number): void {
    const connections = this.#bySpiffeId.get(spiffeId);
    if (connections === undefined) {
      this.#bySpiffeId.set(spiffeId, new Set([connection]));
      return;
    }
    connections.add(connection);
    if (connections.size <= limit) return;
    const [oldest] = connections;
    if (oldest === undefined) return;
    connections.delete(oldest);
    this.close(
      oldest,
      new PkiError('OVERLOADED', `${spiffeId} has more than ${limit} connections`),
    );
  }

  #forget(spiffeId: string, connection: Connection): void {
    const connections = this.#bySpiffeId.get(spiffeId);
    connections?.delete(connection);
    if (connections?.size === 0) this.#bySpiffeId.delete(spiffeId);
  }
}

function ownerOf(caller: Caller, key: string): RequestOwner {
  const name =
    caller.class === 'anonymous'
      ? key
      : caller.class === 'local'
        ? `uid:${caller.uid}`
        : caller.spiffeId;
  return { name, bytes: requestBytes[caller.class] };
}

/** Whether a caller of this class may do more than attest and ask for health. */
const hasBusiness = (caller: Caller): boolean =>
  caller.class !== 'anonymous' && caller.class !== 'workload';

const nothing = (): void => {};

const bytesRead = (socket: Duplex): number =>
  (socket as Duplex & { readonly bytesRead?: number }).bytesRead ?? 0;
