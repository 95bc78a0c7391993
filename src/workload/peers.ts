import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { fail, PkiError, unwrap, type Result } from '../common/errors/index.ts';
import { peerChainOf, type Clock } from '../common/runtime/index.ts';
import { isReserved, type SpiffeId } from '../common/spiffe/index.ts';
import {
  parseCertificate,
  serverIssuerOf,
  verifyX509Svid,
  type ParsedCrl,
  type VerifiedSvid,
} from '../common/x509/index.ts';
import type { Authorizer } from './authorize.ts';
import type { Counters, Role } from './counters.ts';
import type { X509Bundles, X509Update } from './x509-update.ts';

/** The peer of an admitted connection. */
export interface Peer {
  readonly id: SpiffeId;
  /** Lower-case hex. */
  readonly serial: string;
  /** The earliest expiry in the chain that was admitted. Unix seconds, inclusive. */
  readonly notAfter: number;
  /** AuthorityKeyIdentifier of its certificate, lower-case hex; empty if it has none. */
  readonly issuerKeyId: string;
}

/** The CRLs for chains of this trust domain. Undefined: revocation is not checked. */
export type CrlsOf = (trustDomainName: string) => readonly ParsedCrl[] | undefined;

export interface PeerRegisterOptions {
  readonly clock: Clock;
  readonly bundles: () => X509Bundles;
  readonly reservedIds: X509Update['reservedIds'];
  readonly counters: Counters;
  /** Whether a connection ends when its peer would no longer be admitted. */
  readonly enforce: boolean;
  /** Absent: revocation is not checked. */
  readonly crls?: CrlsOf;
}

interface Admission extends Peer {
  readonly chainDer: readonly Buffer[];
  readonly role: Role;
}

const longestTimerMs = 30_000;
const known = new WeakMap<Socket, Peer>();

/** The verified peer of a socket that this library admitted, undefined for any other. */
export const peerOf = (socket: Socket): Peer | undefined => known.get(socket);

/**
 * Admits peers and ends their connections when the certificate expires, or when its root leaves the
 * bundle. Owner of the open connections of one source.
 */
export class PeerRegister {
  readonly #clock: Clock;
  readonly #bundles: () => X509Bundles;
  readonly #reservedIds: X509Update['reservedIds'];
  readonly #counters: Counters;
  readonly #enforce: boolean;
  readonly #crls: CrlsOf;
  readonly #open = new Map<TLSSocket, Admission>();

  constructor(options: PeerRegisterOptions) {
    const { clock, bundles, reservedIds, counters, enforce, crls } = options;
    this.#clock = clock;
    this.#bundles = bundles;
    this.#reservedIds = reservedIds;
    this.#counters = counters;
    this.#enforce = enforce;
    this.#crls = crls ?? (() => undefined);
  }

  get size(): number {
    return this.#open.size;
  }

  /**
   * The complete check of a peer's chain (leaf first): X.509-SVID against the bundle of its own
   * trust domain, the issuer of an ID below `/meshca/`, then the authorizer. Throws.
   */
  check(chainDer: readonly Buffer[], role: Role, authorizer: Authorizer): VerifiedSvid {
    if (chainDer.length === 0)
      throw new PkiError('PEER_CERTIFICATE_MISSING', 'the peer presented no certificate');
    const verified = unwrap(this.#verify(chainDer, role));
    if (!authorizer.admits(verified.id)) {
      throw new PkiError(
        'PEER_NOT_AUTHORIZED',
        `the peer is ${verified.id}, admitted is ${authorizer.description}`,
      );
    }
    return verified;
  }

  #verify(chainDer: readonly Buffer[], role: Role): Result<VerifiedSvid> {
    const bundles = this.#bundles();
    const svid = verifyX509Svid({
      chainDer,
      bundle: (name) => bundles.get(name),
      now: this.#clock.now(),
      purpose: role === 'server' ? 'client' : 'server',
      crls: this.#crls,
    });
    if (!svid.ok || !isReserved(svid.value.id)) return svid;
    // a CA downstream can issue any ID of its trust domain, and its chain verifies
    const { issuers, unprovenAdmitted } = this.#reservedIds(svid.value.id.trustDomain.name);
    const issuer = serverIssuerOf(svid.value, issuers);
    if (!issuer.ok) return issuer;
    if (issuer.value.proof !== 'none' || unprovenAdmitted) return svid;
    return fail(
      'RESERVED_ID_UNTRUSTED',
      'the agent names no issuing authorities, and the root of the peer marks none: any CA ' +
        `below that root could be its issuer, with the key ${issuer.value.sha256Hex}`,
      {
        next:
          'Update the server and then the agent: agents of this release name the issuing ' +
          'authorities of their server. With an agent of another product, give the peer an ID ' +
          'that is not below /meshca/.',
      },
    );
  }

  /**
   * Checks the peer of a socket after its handshake, and watches the connection. If it throws, the
   * caller must destroy the socket.
   */
  admit(socket: TLSSocket, role: Role, authorizer: Authorizer): Peer {
    // a resumed session proves nothing about the certificate, which may have expired, or whose root
    // may have left
    if (socket.isSessionReused())
      throw new PkiError('SESSION_RESUMED', 'the peer resumed an earlier TLS session');
    if (socket.getProtocol() !== 'TLSv1.3')
      throw new PkiError(
        'HANDSHAKE_FAILED',
        `the connection speaks ${socket.getProtocol() ?? 'no TLS'}, not TLSv1.3`,
      );
    const chainDer = peerChainOf(socket);
    const verified = this.check(chainDer, role, authorizer);
    const notAfter = Math.min(
      verified.root.notAfter,
      ...verified.chain.map((certificate) => certificate.notAfter),
    );
    const admission: Admission = {
      id: verified.id,
      serial: verified.leaf.serialHex,
      notAfter,
      issuerKeyId: verified.leaf.authorityKeyId ?? '',
      chainDer,
      role,
    };
    known.set(socket, admission);
    this.#open.set(socket, admission);
    const cancel = this.#enforce ? this.#endAt(socket, notAfter) : undefined;
    socket.once('close', () => {
      cancel?.();
      this.#open.delete(socket);
    });
    return admission;
  }

  /** Call it after the bundles changed. */
  recheck(): void {
    if (!this.#enforce) return;
    for (const [socket, { chainDer, role }] of this.#open) {
      const still = this.#verify(chainDer, role);
      // a CRL that is missing now does not end a connection that was admitted with it
      if (still.ok || still.error.code === 'REVOCATION_UNKNOWN') continue;
      this.#counters.closedAsDistrusted += 1;
      socket.destroy(still.error);
    }
  }

  closeAll(): void {
    for (const socket of this.#open.keys()) socket.destroy();
  }

  /**
   * Checks the wall clock in short steps, so that a suspend does not lengthen the life of a
   * certificate.
   */
  #endAt(socket: TLSSocket, notAfter: number): () => void {
    let cancel: () => void = () => undefined;
    const look = (): void => {
      const leftMs = (notAfter + 1) * 1000 - this.#clock.nowMs();
      if (leftMs > 0) {
        cancel = this.#clock.after(Math.min(leftMs, longestTimerMs), look);
        return;
      }
      this.#counters.closedAsExpired += 1;
      socket.destroy(
        new PkiError(
          'CERTIFICATE_EXPIRED',
          'the certificate that the peer was admitted on has expired',
        ),
      );
    };
    look();
    return () => cancel();
  }
}

/** The SPIFFE ID of a verified leaf, read from its bytes and never from a display form. */
export function idTextOf(leafDer: Buffer): string | undefined {
  const leaf = parseCertificate(leafDer);
  return leaf.ok && leaf.value.uriSans.length === 1 ? leaf.value.uriSans[0] : undefined;
}

/**
 * The issuer that the certificate of a peer names, verified or not, for counting. Empty if there is
 * no readable certificate.
 */
export function issuerKeyIdOf(socket: TLSSocket): string {
  try {
    const [leafDer] = peerChainOf(socket);
    const leaf = leafDer === undefined ? undefined : parseCertificate(leafDer);
    return leaf?.ok === true ? (leaf.value.authorityKeyId ?? '') : '';
  } catch {
    // a closed socket has no peer
    return '';
  }
}
