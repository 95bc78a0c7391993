import { PkiError } from '../common/errors/index.ts';
import {
  errorFields,
  type Clock,
  type Logger,
  type Random,
  uuidv7,
} from '../common/runtime/index.ts';
import { serverId, type TrustDomain } from '../common/spiffe/index.ts';
import {
  certificatesToPem,
  createCsr,
  generateKeyPairAsync,
  pemEncode,
  pkcs8Of,
  sha256Hex,
} from '../common/x509/index.ts';
import { serverRequester, spiffeSubject } from '../domain/index.ts';
import type { Authorities } from './authorities.ts';
import type { Issuer } from './issuer.ts';

/**
 * The certificate that the TLS listener presents. Its chain ends with the root, so that a joining
 * agent can check the root's fingerprint.
 */
export interface ServerIdentity {
  readonly chainPem: string;
  readonly keyPem: string;
  /** SHA-256 of the leaf. */
  readonly sha256: Buffer;
  readonly serial: string;
  readonly notAfter: number;
}

export interface ServerCertificateDependencies {
  readonly issuer: Issuer;
  readonly authorities: Pick<Authorities, 'all' | 'issuing' | 'rootOf' | 'onChange'>;
  /**
   * Whether every agent that may come back or join knows this root. Until then the server does not
   * present a certificate below it, as long as it can wait.
   */
  readonly rootHeld?: (rootId: string) => boolean | Promise<boolean>;
  /**
   * Called when the server starts to present this certificate. From then on it presents no earlier
   * one, not even one of an earlier process.
   */
  readonly presented?: (serial: string) => Promise<void>;
  readonly blockedKeys: {
    isBlocked(publicKeySha256: string): boolean;
    /** Called when something was blocked, or after any other change. Returns the unsubscribe function. */
    onChange(listener: () => void): () => void;
  };
  readonly trustDomain: TrustDomain;
  readonly dnsNames: readonly string[];
  /** See serverHolder. Each certificate that is presented at the same time has its own. */
  readonly holder: string;
  readonly ttlSeconds: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

const retrySeconds = { first: 1, longest: 60 };
/**
 * With less than this share of its life left, the certificate is renewed even if some agents lag.
 */
const leastLifeShare = 0.2;
const waitSeconds = 5;

/**
 * Owner of the server's own certificate. Our authority issues it like any other. It is renewed with
 * a new key at about a third of its life, and at once when its key is blocked.
 */
export class ServerCertificate {
  readonly #dependencies: ServerCertificateDependencies;
  readonly #listeners = new Set<(identity: ServerIdentity) => void>();
  #current: ServerIdentity | undefined;
  #cancel: (() => void) | undefined;
  #authorityId = '';
  #publicKeySha256 = '';
  #rootDer: Buffer | undefined;
  #stopListening: (() => void) | undefined;
  /** The key for which a renewal was scheduled because it is blocked. */
  #blockedKey = '';
  /** Counts changes of the authorities. */
  #changes = 0;
  #closed = false;

  constructor(dependencies: ServerCertificateDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * Obtains the first certificate, and renews it from then on. Does nothing if it has done so before.
   *
   * @throws the error that prevented the first certificate
   */
  async start(): Promise<void> {
    if (this.#stopListening !== undefined) return;
    await this.#renew();
    this.#schedule(this.#renewalDelaySeconds());
    const { authorities, blockedKeys } = this.#dependencies;
    const stops = [
      authorities.onChange(() => {
        this.#changes += 1;
        if (this.#isDue()) this.#schedule(0);
      }),
      blockedKeys.onChange(() => this.#renewIfBlocked()),
    ];
    this.#stopListening = () => {
      for (const stop of stops) stop();
    };
  }

  current(): ServerIdentity {
    if (this.#current === undefined)
      throw new PkiError('STARTING_UP', 'the server has no certificate yet');
    return this.#current;
  }

  /** 0 while there is no certificate. */
  notAfter(): number {
    return this.#current?.notAfter ?? 0;
  }

  /** The root at the end of the chain; undefined while there is no certificate. */
  rootDer(): Buffer | undefined {
    return this.#rootDer;
  }

  onChange(listener: (identity: ServerIdentity) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#closed = true;
    this.#stopListening?.();
    this.#cancel?.();
  }

  /** Once for each key, so that other changes do not hurry the retries. */
  #renewIfBlocked(): void {
    if (!this.#isBlocked() || this.#blockedKey === this.#publicKeySha256) return;
    this.#blockedKey = this.#publicKeySha256;
    this.#changes += 1;
    this.#schedule(0);
  }

  #isBlocked(): boolean {
    return this.#dependencies.blockedKeys.isBlocked(this.#publicKeySha256);
  }

  async #renew(): Promise<void> {
    const { issuer, authorities, trustDomain, clock } = this.#dependencies;
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    const [result] = await issuer.issue([
      {
        requestId: uuidv7(clock.nowMs()),
        csrDer: createCsr(privateKey),
        subject: spiffeSubject(serverId(trustDomain), this.#dependencies.dnsNames),
        kind: 'server',
        profile: 'server',
        ttlSeconds: this.#dependencies.ttlSeconds,
        endsWithIssuer: true,
        caller: serverRequester,
        holder: this.#dependencies.holder,
        entryId: null,
        delegationId: null,
        replaces: this.#current?.serial ?? null,
        rights: [],
        reason: { purpose: 'server certificate', names: this.#dependencies.dnsNames.join(' ') },
      },
    ]);
    if (result === undefined || !result.ok)
      throw (
        result?.error ??
        new PkiError('INTERNAL', 'the issuer returned no result for the server certificate')
      );
    const root = authorities.rootOf(result.leaf.authorityId)?.certificateDer;
    const leafDer = result.leaf.chainDer[0] as Buffer;
    this.#current = {
      chainPem: certificatesToPem([...result.leaf.chainDer, ...(root ? [root] : [])]),
      keyPem: pemEncode('PRIVATE KEY', pkcs8Of(privateKey)),
      sha256: Buffer.from(sha256Hex(leafDer), 'hex'),
      serial: result.leaf.serial,
      notAfter: result.leaf.notAfter,
    };
    this.#authorityId = result.leaf.authorityId;
    this.#publicKeySha256 = result.leaf.publicKeySha256;
    this.#rootDer = root ?? undefined;
    for (const listener of this.#listeners) listener(this.#current);
    await this.#dependencies.presented?.(result.leaf.serial);
  }

  /** Whether its issuer and the root above are still trusted (not tainted, not revoked). */
  #trusted(): boolean {
    const { authorities } = this.#dependencies;
    const issuer = authorities.all().find(({ id }) => id === this.#authorityId);
    const root = authorities.rootOf(this.#authorityId);
    return [issuer, root ?? issuer].every(
      (authority) => authority?.state === 'active' || authority?.state === 'old',
    );
  }

  /** Whether a change of the authorities, or a blocked key, makes a new certificate due. */
  #isDue(): boolean {
    return !this.#trusted() || this.#isCut() || this.#isBlocked();
  }

  /** Near the end of its issuer, or past it: a later issuer gives a full life. */
  #isCut(): boolean {
    const { clock, ttlSeconds } = this.#dependencies;
    return this.notAfter() - clock.now() <= ttlSeconds * leastLifeShare;
  }

  /**
   * Whether to wait: some agent lacks the root of the next certificate, and the present one has
   * enough life left.
   */
  async #waits(): Promise<boolean> {
    const { authorities, rootHeld } = this.#dependencies;
    const next = authorities.issuing();
    const nextRoot = next === undefined ? undefined : authorities.rootOf(next.id);
    if (
      nextRoot === undefined ||
      nextRoot.id === authorities.rootOf(this.#authorityId)?.id ||
      !this.#trusted()
    )
      return false;
    return !this.#isCut() && !this.#isBlocked() && (await rootHeld?.(nextRoot.id)) === false;
  }

  /** Returns true if the certificate was renewed. */
  async #renewUnlessWaiting(): Promise<boolean> {
    if (await this.#waits()) return false;
    await this.#renew();
    return true;
  }

  #renewalDelaySeconds(): number {
    const { clock, random } = this.#dependencies;
    const lifeSeconds = Math.max(0, this.notAfter() - clock.now());
    return Math.max(1, (lifeSeconds / 3) * (0.9 + 0.2 * random.uniform()));
  }

  #schedule(delaySeconds: number, retry: number = retrySeconds.first): void {
    if (this.#closed) return;
    this.#cancel?.();
    this.#cancel = this.#dependencies.clock.after(delaySeconds * 1000, () => {
      const changes = this.#changes;
      this.#renewUnlessWaiting().then(
        (renewed) => {
          if (!renewed) {
            this.#schedule(waitSeconds);
            return;
          }
          this.#dependencies.logger.info(
            {
              serial: this.#current?.serial,
              notAfter: this.#current?.notAfter,
              holder: this.#dependencies.holder,
            },
            'server certificate renewed',
          );
          // a change during the renewal may have come after its issuer was chosen
          const again = this.#changes !== changes && this.#isDue();
          this.#schedule(again ? 0 : this.#renewalDelaySeconds());
        },
        (thrown: unknown) => {
          this.#dependencies.logger.warn(
            {
              ...errorFields(thrown),
              notAfter: this.#current?.notAfter,
            },
            'server certificate not renewed; trying again',
          );
          this.#schedule(
            retry * (0.5 + this.#dependencies.random.uniform()),
            Math.min(retry * 2, retrySeconds.longest),
          );
        },
      );
    });
  }
}
