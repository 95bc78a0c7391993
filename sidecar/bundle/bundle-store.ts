import { compactVerify, decodeProtectedHeader, importJWK, type JWK } from 'jose';
import { fail, ok, PkiError, type Result } from '../../src/common/errors/index.ts';
import type { Logger } from '../../src/common/runtime/index.ts';
import type { TrustDomain } from '../../src/common/spiffe/index.ts';
import type { BundleSource, TrustBundle } from '../ports/bundles.ts';
import { parseBundleDocument, toTrustBundle, type BundleDocument } from './document.ts';
import {
  FederatedBundles,
  type FederatedDocument,
  type FederatedUpdate,
} from './federated-bundles.ts';

export interface BundleStep {
  readonly sequence: number;
  readonly jws: string;
}

/** A step that was not taken. What is held stays in force, and lacks what is newer. */
export interface RefusedStep {
  readonly sequence: number;
  readonly heldSequence: number;
  readonly error: PkiError;
}

const refusedAdvice =
  'If the server was restored from a backup, stop this agent, remove its data directory, and let it ' +
  'join again before a root is rotated. If it was not, find out who answers at serverAddress, and ' +
  'who can sign there.';
const stepType = 'meshca-bundle+jws';
const algorithms = ['ES256', 'ES384', 'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'];

/** Each makes something durable; false: it is held in memory alone, until a later try keeps it. */
export interface BundlePersistence {
  /** Before anyone is told of the bundle. */
  own(documentJson: string): Promise<boolean>;
  /** All bundles of foreign trust domains, before anyone is told of them. */
  federated(documents: readonly FederatedDocument[]): Promise<boolean>;
}

/**
 * The trust bundles of this agent. Owner of the held bundle: it moves only forward, each step
 * signed by a JWT authority of the bundle before it, so that neither a stolen connection nor a
 * stale server can put another root in.
 */
export class BundleStore implements BundleSource {
  readonly #trustDomain: TrustDomain;
  readonly #persist: BundlePersistence;
  readonly #federated: FederatedBundles;
  #document: BundleDocument | undefined;
  #bundle: TrustBundle | undefined;
  #crls: readonly Buffer[] = [];
  #refused: RefusedStep | undefined;
  readonly #listeners = new Set<() => void>();

  constructor(trustDomain: TrustDomain, logger: Logger, persist: BundlePersistence) {
    this.#trustDomain = trustDomain;
    this.#persist = persist;
    this.#federated = new FederatedBundles(trustDomain, logger);
  }

  current(): TrustBundle | undefined {
    return this.#bundle;
  }

  federated(): ReadonlyMap<string, TrustBundle> {
    return this.#federated.bundles();
  }

  crls(): readonly Buffer[] {
    return this.#crls;
  }

  /**
   * The CRLs that are handed out: checked, a complete set or none. `issuersChanged`: there are other
   * issuing authorities, so that a consumer may need another set than these CRLs, or none.
   */
  setCrls(crls: readonly Buffer[], issuersChanged: boolean): void {
    if (
      crls.length === this.#crls.length &&
      crls.every((der, index) => der.equals(this.#crls[index] as Buffer))
    ) {
      if (issuersChanged) this.#announce();
      return;
    }
    // copies, since views into a message would keep it whole
    this.#crls = crls.map((der) => Buffer.from(der));
    this.#announce();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  roots(): readonly Buffer[] {
    return this.#bundle?.rootsDer ?? [];
  }

  /**
   * SHA-256 (hex) of the public keys of the server's issuing authorities, under which alone IDs below
   * `/meshca/` are believed; undefined while no signed step is held.
   */
  issuersSha256(): ReadonlySet<string> | undefined {
    return this.#document?.issuersSha256;
  }

  /**
   * The sequence of the newest step that is held; what is behind it is still to come. A bundle from
   * a file is no step: the one with its sequence says more.
   */
  stepSequence(): number {
    const { sequence = 0, issuersSha256 } = this.#document ?? {};
    return issuersSha256 === undefined ? Math.max(0, sequence - 1) : sequence;
  }

  /**
   * True when the held bundle can check the next one; false for a bundle of roots alone, from
   * bootstrap.
   */
  canVerifySteps(): boolean {
    return (this.#document?.jwtAuthorities.length ?? 0) > 0;
  }

  /** Takes what was kept from an earlier run, or what the operator gave for bootstrap. */
  restore(document: BundleDocument): void {
    this.#hold(document);
  }

  /**
   * Takes the first bundle over a connection whose server has been verified (by root or
   * fingerprint): only while no bundle is held that could check it. Throws BUNDLE_INVALID.
   */
  async bootstrap(step: BundleStep): Promise<void> {
    if (this.canVerifySteps()) {
      await this.advance([step]);
      return;
    }
    const payload = payloadOf(step.jws);
    const document = payload.ok ? checked(payload.value, step) : payload;
    if (!document.ok) throw document.error;
    await this.#take(payload.ok ? payload.value : '', document.value);
  }

  /**
   * Walks forward. Steps at or behind `stepSequence` are passed over. Throws BUNDLE_INVALID or
   * SERVER_UNTRUSTED; steps before stay.
   */
  async advance(steps: readonly BundleStep[]): Promise<void> {
    for (const step of steps) {
      if (step.sequence <= this.stepSequence() && this.#document !== undefined) continue;
      const text = await this.#verify(step);
      const document = checked(text, step);
      if (!document.ok) throw document.error;
      await this.#take(text, document.value);
    }
  }

  /** A session with the server begins: what it sends is judged anew. */
  beginSession(): void {
    this.#refused = undefined;
  }

  /**
   * Walks forward as `advance`, by what the verified server sent in a session. Of others nothing is
   * kept in mind, since anybody can send what is refused.
   */
  async follow(steps: readonly BundleStep[]): Promise<void> {
    try {
      await this.advance(steps);
    } catch (thrown) {
      const heldSequence = this.stepSequence();
      const sequence = steps.find((step) => step.sequence > heldSequence)?.sequence ?? 0;
      this.#refused = { sequence, heldSequence, error: PkiError.from(thrown) };
      throw thrown;
    }
  }

  /** The step of this session that was refused, until a later one is taken. */
  refused(): RefusedStep | undefined {
    return this.#refused;
  }

  /** Why the newest bundle of a foreign trust domain was not taken, by its name. */
  federatedProblems(): ReadonlyMap<string, string> {
    return this.#federated.problems();
  }

  /**
   * Takes bundles of foreign trust domains. They are durable before anyone is told, so that a restart
   * brings none back that was withdrawn.
   */
  async updateFederated(update: FederatedUpdate): Promise<void> {
    if (!this.#federated.update(update)) return;
    await this.#persist.federated(this.#federated.documents());
    this.#announce();
  }

  /** Takes what was kept from an earlier run. */
  restoreFederated(bundles: readonly FederatedDocument[]): void {
    const trustDomains = bundles.map(({ trustDomain }) => trustDomain);
    if (this.#federated.update({ trustDomains, bundles })) this.#announce();
  }

  async #verify(step: BundleStep): Promise<string> {
    try {
      const header = decodeProtectedHeader(step.jws);
      if (header.typ !== stepType)
        throw new Error(`the type of the signed bundle is not ${stepType}`);
      const authority = this.#document?.jwtAuthorities.find(({ keyId }) => keyId === header.kid);
      if (authority === undefined) throw new Error('no authority of the held bundle signed it');
      const key = await importJWK(authority.jwk as JWK, header.alg);
      const { payload } = await compactVerify(step.jws, key, { algorithms });
      return Buffer.from(payload).toString('utf8');
    } catch (thrown) {
      throw new PkiError(
        'SERVER_UNTRUSTED',
        `bundle ${step.sequence} is not signed under the bundle held ` +
          `(${this.#document?.sequence ?? 'none'}): ${(thrown as Error).message}`,
        { cause: thrown, next: refusedAdvice },
      );
    }
  }

  async #take(text: string, document: BundleDocument): Promise<void> {
    await this.#persist.own(text);
    this.#hold(document);
  }

  #hold(document: BundleDocument): void {
    this.#document = document;
    this.#refused = undefined;
    this.#bundle = toTrustBundle(this.#trustDomain, document);
    this.#announce();
  }

  #announce(): void {
    for (const listener of this.#listeners) listener();
  }
}

function checked(text: string, step: BundleStep): Result<BundleDocument> {
  const document = parseBundleDocument(text);
  if (!document.ok) return document;
  if (document.value.sequence !== step.sequence)
    return fail(
      'BUNDLE_INVALID',
      `the document has sequence ${document.value.sequence}, the step says ${step.sequence}`,
    );
  if (document.value.rootsDer.length === 0) return fail('BUNDLE_INVALID', 'the bundle has no root');
  if (document.value.issuersSha256 === undefined)
    return fail('BUNDLE_INVALID', 'the step does not name the issuing authorities of the server');
  if (document.value.jwtAuthorities.length === 0)
    return fail(
      'BUNDLE_INVALID',
      'the bundle has no JWT authority, so that no later one could be verified',
    );
  return document;
}

function payloadOf(jws: string): Result<string> {
  const parts = jws.split('.');
  if (parts.length !== 3 || parts[1] === '')
    return fail('BUNDLE_INVALID', 'the signed bundle is no compact JWS');
  return ok(Buffer.from(parts[1] as string, 'base64url').toString('utf8'));
}
