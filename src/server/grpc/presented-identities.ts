import { constants } from 'node:crypto';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import { certificatesToPem } from '../../common/x509/index.ts';

export interface TlsIdentity {
  readonly chainPem: string;
  readonly keyPem: string;
  readonly sha256: Buffer;
}

export interface IdentitySource {
  current(): TlsIdentity;
  onChange(listener: () => void): () => void;
}

/** A front on the TLS port: the names by which its clients dial it, and its own certificate. */
export interface TlsFront {
  readonly name: string;
  readonly dnsNames: readonly string[];
  readonly identity: IdentitySource;
  /**
   * Its clients are anonymous, whatever certificate they present: no call of theirs rests on one. A
   * proxy of Linkerd presents its certificate when it renews.
   */
  readonly anonymous: boolean;
}

export interface PresentedIdentitiesDependencies {
  readonly identity: IdentitySource;
  readonly fronts: readonly TlsFront[];
  readonly rootsDer: () => readonly Buffer[];
}

interface Presented {
  readonly name: string;
  readonly anonymous: boolean;
  identity: TlsIdentity;
  context: SecureContext;
}

/**
 * The certificates of the TLS port: that of a front for a client that asks for one of its names, and
 * the server's own for everybody else. Owner of what is presented; each is renewed without restart.
 */
export class PresentedIdentities {
  readonly #byName = new Map<string, Presented>();
  readonly #stops: (() => void)[] = [];
  readonly #dependencies: PresentedIdentitiesDependencies;
  #own: TlsIdentity;

  constructor(dependencies: PresentedIdentitiesDependencies) {
    this.#dependencies = dependencies;
    this.#own = dependencies.identity.current();
    for (const front of dependencies.fronts) this.#add(front);
  }

  /** The context of the server's own certificate, now and after each renewal. */
  follow(use: (options: SecureContextOptions) => void): void {
    const { identity } = this.#dependencies;
    use(this.#options(this.#own));
    this.#stops.push(
      identity.onChange(() => {
        this.#own = identity.current();
        use(this.#options(this.#own));
      }),
    );
  }

  /** Undefined: the server's own. */
  contextOf(serverName: string): SecureContext | undefined {
    return this.#byName.get(serverName.toLowerCase())?.context;
  }

  /** The certificate that a client saw that asked for this name. */
  identityOf(serverName: string | undefined): TlsIdentity {
    return this.#byName.get((serverName ?? '').toLowerCase())?.identity ?? this.#own;
  }

  /** The front with this name; `other` for all other names, the server's own among them. */
  frontOf(serverName: string | undefined): string {
    return this.#byName.get((serverName ?? '').toLowerCase())?.name ?? 'other';
  }

  /** Whether clients that asked for this name are anonymous. */
  isAnonymous(serverName: string | undefined): boolean {
    return this.#byName.get((serverName ?? '').toLowerCase())?.anonymous ?? false;
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  #add({ name, dnsNames, identity, anonymous }: TlsFront): void {
    const first = identity.current();
    const presented: Presented = {
      name,
      anonymous,
      identity: first,
      context: createSecureContext(this.#options(first)),
    };
    for (const dnsName of dnsNames) this.#byName.set(dnsName.toLowerCase(), presented);
    this.#stops.push(
      identity.onChange(() => {
        presented.identity = identity.current();
        presented.context = createSecureContext(this.#options(presented.identity));
      }),
    );
  }

  #options({ chainPem, keyPem }: TlsIdentity): SecureContextOptions {
    return {
      cert: chainPem,
      key: keyPem,
      // set so that no store of public roots is loaded; the inventory decides whether a client is known
      ca: certificatesToPem(this.#dependencies.rootsDer()),
      minVersion: 'TLSv1.3',
      ecdhCurve: 'X25519MLKEM768:X25519:P-256:P-384',
      secureOptions: constants.SSL_OP_NO_TICKET,
    };
  }
}
