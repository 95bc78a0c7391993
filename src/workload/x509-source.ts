import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import type { Metadata } from '@grpc/grpc-js';
import { PkiError } from '../common/errors/index.ts';
import { setDigest } from '../common/x509/index.ts';
import { securityHeader, sourceContext, type SourceContext, type SourceOptions } from './client.ts';
import { Counters, type HandshakeCounts } from './counters.ts';
import { follow, type FollowedStream } from './follow.ts';
import { PeerRegister, type CrlsOf } from './peers.ts';
import { Reporter } from './reporter.ts';
import { tlsMaterial } from './tls-material.ts';
import { readX509Update, type X509Bundles, type X509Svid, type X509Update } from './x509-update.ts';
import type { X509SVIDResponse__Output } from '../common/wire/generated/X509SVIDResponse.ts';

/** Chooses one of several identities; undefined if none fits. */
export type SvidPicker = (svids: readonly X509Svid[]) => X509Svid | undefined;

export const pickHint =
  (hint: string): SvidPicker =>
  (svids) =>
    svids.find((svid) => svid.hint === hint);
export const pickId =
  (id: string): SvidPicker =>
  (svids) =>
    svids.find((svid) => svid.id.toString() === id);

export interface X509SourceOptions extends SourceOptions {
  /** Default: the first, as the standard says. */
  readonly picker?: SvidPicker;
  /**
   * Ends a connection when the peer's certificate expires, or when its root leaves the bundle.
   * Default true. With false, a connection can live on after its certificate has expired.
   */
  readonly enforce?: boolean;
  /**
   * `enforce`: checks peers of this trust domain against the CRLs that come with the identity. Each
   * authority of the peer's chain has one. If one is missing or has expired, the peer is refused
   * (REVOCATION_UNKNOWN). Certificates with noRevAvail are short-lived and appear on no CRL. Peers
   * of other trust domains are not checked. Default `ignore`.
   */
  readonly crl?: 'enforce' | 'ignore';
  /**
   * Reports to our agent which update is in force here, and how many handshakes succeeded and
   * failed per issuer. Rotations need this. Default true. Other agents get no reports.
   */
  readonly reports?: boolean;
}

export interface X509SourceStats {
  readonly connected: boolean;
  readonly updates: number;
  /** Updates that changed the certificate in use. */
  readonly rotations: number;
  readonly refusedUpdates: number;
  readonly reconnects: number;
  readonly svid: {
    readonly id: string;
    readonly serial: string;
    readonly notBefore: number;
    readonly notAfter: number;
  };
  /**
   * Seconds since the certificate in use was received, and until it expires (negative: expired).
   */
  readonly ageSeconds: number;
  readonly remainingSeconds: number;
  readonly handshakes: { readonly client: HandshakeCounts; readonly server: HandshakeCounts };
  readonly openConnections: number;
  readonly closedAsExpired: number;
  readonly closedAsDistrusted: number;
  readonly lastError: { readonly code: string; readonly message: string } | undefined;
}

interface Held {
  readonly update: X509Update;
  readonly svid: X509Svid;
  /** Monotonic. */
  readonly receivedMs: number;
  readonly material: SecureContextOptions;
  readonly context: SecureContext;
}

/** @internal What the adapters for tls, https and gRPC need of a source. */
export interface SourceInternals {
  readonly counters: Counters;
  readonly peers: PeerRegister;
  readonly context: SourceContext;
  secureContext(): SecureContext;
  material(): SecureContextOptions;
}

const internals = new WeakMap<X509Source, SourceInternals>();

/** @internal */
export const internalsOf = (source: X509Source): SourceInternals =>
  internals.get(source) as SourceInternals;

/**
 * The present identity of this process. It keeps the stream of the Workload API open. Whenever the
 * agent sends an update, it replaces certificate, key and bundles together. While the agent is
 * away, it keeps its last update and reconnects.
 */
export class X509Source implements AsyncDisposable {
  readonly #context: SourceContext;
  readonly #picker: SvidPicker;
  readonly #counters = new Counters();
  readonly #peers: PeerRegister;
  readonly #listeners = new Set<(svid: X509Svid) => void>();
  readonly #reporter: Reporter | undefined;
  #stream: FollowedStream | undefined;
  #held: Held | undefined;
  #updates = 0;
  #rotations = 0;
  #closed = false;

  private constructor(options: X509SourceOptions) {
    this.#context = sourceContext(options);
    this.#picker = options.picker ?? ((svids) => svids[0]);
    const enforcesCrl = options.crl === 'enforce';
    const crls: CrlsOf = (name) =>
      enforcesCrl && name === this.svid.id.trustDomain.name ? this.#current.update.crls : undefined;
    this.#peers = new PeerRegister({
      clock: this.#context.clock,
      bundles: () => this.bundles,
      reservedIds: (name) => this.#current.update.reservedIds(name),
      counters: this.#counters,
      enforce: options.enforce ?? true,
      crls,
    });
    this.#reporter =
      options.reports === false
        ? undefined
        : new Reporter(this.#context, this.#counters, [
            'reports-handshakes',
            ...(enforcesCrl ? ['enforces-crl'] : []),
          ]);
    internals.set(this, {
      counters: this.#counters,
      peers: this.#peers,
      context: this.#context,
      material: () => this.#current.material,
      secureContext: () => this.#current.context,
    });
  }

  /**
   * Resolves when the first valid identity is in force. Throws ENDPOINT_INVALID, NO_IDENTITY,
   * UNREACHABLE, CANCELLED, or why the update was refused.
   */
  static async connect(options: X509SourceOptions = {}): Promise<X509Source> {
    const source = new X509Source(options);
    const { client } = source.#context;
    source.#stream = follow(
      source.#context,
      () => client.fetchX509Svid({}, source.#header()),
      (message) => source.#takeAndReport(message),
      options.signal,
    );
    try {
      await source.#stream.first;
    } catch (error) {
      await source.close();
      throw error;
    }
    return source;
  }

  /** The identity in use. */
  get svid(): X509Svid {
    return this.#current.svid;
  }

  /** All identities of this process. */
  get svids(): readonly X509Svid[] {
    return this.#current.update.svids;
  }

  get bundles(): X509Bundles {
    return this.#current.update.bundles;
  }

  /**
   * Called after each update is in force, renewals and bundle changes alike. Returns the
   * unsubscribe function.
   */
  onUpdate(listener: (svid: X509Svid) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  stats(): X509SourceStats {
    const { svid, receivedMs } = this.#current;
    const stream = (this.#stream as FollowedStream).state();
    return {
      connected: stream.connected,
      updates: this.#updates,
      rotations: this.#rotations,
      refusedUpdates: stream.refusedMessages,
      reconnects: stream.reconnects,
      svid: {
        id: svid.id.toString(),
        serial: svid.serial,
        notBefore: svid.notBefore,
        notAfter: svid.notAfter,
      },
      ageSeconds: Math.floor((this.#context.clock.monotonicMs() - receivedMs) / 1000),
      remainingSeconds: svid.notAfter - this.#context.clock.now(),
      handshakes: {
        client: this.#counters.handshakes('client'),
        server: this.#counters.handshakes('server'),
      },
      openConnections: this.#peers.size,
      closedAsExpired: this.#counters.closedAsExpired,
      closedAsDistrusted: this.#counters.closedAsDistrusted,
      lastError:
        stream.lastError === undefined
          ? undefined
          : { code: stream.lastError.code, message: stream.lastError.message },
    };
  }

  /** Closes the stream and every connection that this source admitted. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#stream?.close();
    this.#reporter?.close();
    this.#context.client.close();
    this.#listeners.clear();
    this.#peers.closeAll();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  get #current(): Held {
    if (this.#held === undefined)
      throw new PkiError('STARTING_UP', 'the source has no identity yet');
    return this.#held;
  }

  #header(): Metadata {
    const metadata = securityHeader();
    // our agent then names the issuers that may stand above IDs below /meshca/
    metadata.set('meshca-issuers', '1');
    // our agent then waits for our word before it counts what was sent as in force; others pass it
    // over
    if (this.#reporter !== undefined) metadata.set('meshca-client', this.#reporter.clientId);
    return metadata;
  }

  #takeAndReport(message: X509SVIDResponse__Output): void {
    try {
      this.#take(message);
    } catch (thrown) {
      this.#reporter?.refused(PkiError.from(thrown, 'SVID_INVALID').message);
      throw thrown;
    }
    if (this.#closed) return;
    const { svid, update } = this.#current;
    this.#reporter?.loaded(
      svid.id.toString(),
      setDigest(update.bundles.get(svid.id.trustDomain.name) ?? []),
    );
  }

  #take(message: X509SVIDResponse__Output): void {
    if (this.#closed) return;
    const update = readX509Update(message, this.#context.clock.now());
    const svid = this.#picker(update.svids);
    if (svid === undefined)
      throw new PkiError(
        'NO_IDENTITY',
        `the picker chose none of the identities ${update.svids.map((svid) => svid.id).join(', ')}`,
      );
    const before = this.#held;
    const renewed = before?.svid.serial !== svid.serial;
    const material = tlsMaterial(svid, update.bundles);
    const receivedMs = renewed ? this.#context.clock.monotonicMs() : (before as Held).receivedMs;
    // made here, so that an update which OpenSSL can not use is refused while the old one still
    // serves
    this.#held = { update, svid, receivedMs, material, context: createSecureContext(material) };
    this.#updates += 1;
    if (renewed && before !== undefined) this.#rotations += 1;
    this.#peers.recheck();
    for (const listener of this.#listeners) this.#tell(listener, svid);
  }

  #tell(listener: (svid: X509Svid) => void, svid: X509Svid): void {
    try {
      listener(svid);
    } catch (thrown) {
      this.#context.logger.error({ error: thrown }, 'a listener of the X.509 source threw');
    }
  }
}
