import { PkiError } from '../../common/errors/index.ts';
import { sha256Hex, type KeyType } from '../../common/x509/index.ts';
import {
  hasOwnKey,
  isTrusted,
  maySign,
  type Authority,
  type AuthorityScope,
} from '../../domain/index.ts';
import { authorityEvent } from '../authority-event.ts';
import type { AuthorityRequest } from './authority-request.ts';
import type { ImportedAuthority } from './imported-authority.ts';
import type { SourceDependencies } from './source-dependencies.ts';
import { adopt, awaitedId } from './adopt.ts';
import { checkImport, recordImport } from './import.ts';
import { authoritiesAbove } from './downstream-issuer.ts';
import { recordRequest, requestFor } from './request.ts';

/**
 * Issuing intermediates that another CA certifies: an offline ceremony, a company CA, Vault or
 * OpenBao. Their keys are ours and in our token; what comes back from outside is checked before
 * anything is recorded. One act at a time.
 */
export class AuthoritySources {
  readonly #dependencies: SourceDependencies;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(dependencies: SourceDependencies) {
    this.#dependencies = dependencies;
  }

  /** The ID of the issuing authority that a rotation waits for. */
  awaited(): Promise<string | undefined> {
    return awaitedId('issuing', this.#dependencies);
  }

  /**
   * A CSR: for the authority that a rotation waits for, a new one, or again for the named one that
   * waits for its certificate.
   */
  request(input: {
    readonly actor: string;
    readonly id?: string;
    readonly keyType?: KeyType;
    readonly scope?: Pick<AuthorityScope, 'replica' | 'region'>;
  }): Promise<AuthorityRequest> {
    return this.#alone(async () => {
      const { actor, id, keyType, scope } = input;
      // one for a replica or region is beside those that a rotation replaces
      const fresh = () =>
        scope === undefined
          ? this.#requested(actor, keyType)
          : recordRequest(this.#dependencies, actor, { keyType, scope });
      const authority = id === undefined ? await fresh() : await this.#byId(id);
      return requestFor(this.#dependencies, authority);
    });
  }

  /**
   * Checks and records a chain for a requested authority. With `dryRun` nothing is written;
   * `authority` is then as it was.
   */
  importChain(input: {
    readonly actor: string;
    readonly id: string;
    readonly certificatesDer: readonly Buffer[];
    readonly rootSha256?: string;
    readonly dryRun?: boolean;
  }): Promise<ImportedAuthority | { readonly warnings: readonly string[] }> {
    return this.#alone(async () => {
      const authority = await this.#byId(input.id);
      const { chain, spkiDer } = await checkImport(this.#dependencies, {
        authority,
        certificatesDer: input.certificatesDer,
        ...(input.rootSha256 === undefined ? {} : { rootSha256: input.rootSha256 }),
      });
      if (input.dryRun === true) return { warnings: chain.warnings };
      return this.#handOn(
        input.actor,
        await recordImport(this.#dependencies, input.actor, authority, { chain, spkiDer }),
      );
    });
  }

  /**
   * A new issuing intermediate certified by the upstream, left `prepared` (on a first start:
   * active). A request that the upstream did not answer last time is taken up again with its key.
   * Throws UPSTREAM_* and what an import throws.
   */
  prepareUpstream(actor: string): Promise<ImportedAuthority> {
    return this.#alone(async () => {
      const { upstream, plan } = this.#dependencies;
      if (upstream === undefined)
        throw new PkiError('INVALID_REQUEST', 'no upstream is configured', {
          next: 'Set authorities.source to upstream, with authorities.upstream.',
        });
      const awaited = await this.awaited();
      const waiting =
        awaited === undefined
          ? (
              await this.#dependencies.authorities.list({ kind: 'issuing', states: ['preparing'] })
            ).find((each) => each.token === 'issuing')
          : undefined;
      const authority = waiting ?? (await this.#requested(actor));
      const { csrDer } = await requestFor(this.#dependencies, authority);
      const certificatesDer = await upstream.signIntermediate(csrDer, plan.lifeSeconds);
      const { chain, spkiDer } = await checkImport(this.#dependencies, {
        authority,
        certificatesDer,
      });
      await this.#requireExpectedRoot(chain.root.raw, upstream.pinned);
      return this.#handOn(
        actor,
        await recordImport(this.#dependencies, actor, authority, { chain, spkiDer }),
      );
    });
  }

  /** Goes on with an imported chain that a crash left short of `active` on a first start. */
  resumeFirst(actor: string): Promise<void> {
    return this.#alone(async () => {
      const all = await this.#dependencies.authorities.list();
      const own = all.find(
        (each) =>
          each.kind === 'issuing' &&
          hasOwnKey(each) &&
          (each.state === 'prepared' || each.state === 'published'),
      );
      if (own === undefined || everSigned(all)) return;
      const above = [...authoritiesAbove(own, all)];
      const root = above.pop();
      if (root !== undefined)
        await this.#handOn(actor, { authority: own, root, above, warnings: [], activated: false });
    });
  }

  async #requested(actor: string, keyType?: KeyType): Promise<Authority> {
    const id = await this.awaited();
    const known = id === undefined ? undefined : await this.#dependencies.authorities.byId(id);
    return known ?? recordRequest(this.#dependencies, actor, { id, keyType });
  }

  /**
   * Whoever takes over an upstream could bring a root of his own into the mesh: a new one must be
   * named by a person.
   */
  async #requireExpectedRoot(rootDer: Buffer, pinned: boolean): Promise<void> {
    const all = await this.#dependencies.authorities.list();
    if (
      pinned ||
      !everSigned(all) ||
      all.some(
        (each) =>
          each.kind === 'root' &&
          isTrusted(each.state) &&
          each.certificateDer?.equals(rootDer) === true,
      )
    )
      return;
    throw new PkiError('CHAIN_UNTRUSTED', `the upstream has a new root, ${sha256Hex(rootDer)}`, {
      next: 'If that is meant to be, name old and new root in authorities.upstream.rootSha256 and restart: the new one is then published, and trusted once everybody holds it.',
    });
  }

  /**
   * Nobody holds anything before there ever was an issuer: then, and only then, nothing has to be
   * confirmed, and all is activated, roots first. Later it is rotation's.
   */
  async #handOn(actor: string, imported: ImportedAuthority): Promise<ImportedAuthority> {
    const { authorities, changed } = this.#dependencies;
    const all = await authorities.list();
    if (everSigned(all)) {
      const warnings = await adopt(imported, actor, this.#dependencies);
      await changed();
      return { ...imported, warnings: [...imported.warnings, ...warnings] };
    }
    const root = await this.#activate(actor, imported.root);
    const above: Authority[] = [];
    for (const each of [...imported.above].reverse())
      above.unshift(await this.#activate(actor, each));
    const authority = await this.#activate(actor, imported.authority);
    await changed();
    return { ...imported, root, above, authority, activated: true };
  }

  async #activate(actor: string, authority: Authority): Promise<Authority> {
    const { authorities, clock } = this.#dependencies;
    let at = authority;
    for (const [from, to] of [
      ['prepared', 'published'],
      ['published', 'active'],
    ] as const) {
      if (at.state === from)
        at = await authorities.transition(
          { id: at.id, version: at.version, now: clock.now() },
          to,
          authorityEvent(
            this.#dependencies,
            { actor, kind: `authority.${to}`, authority: at },
            { reason: 'first start' },
          ),
        );
    }
    return at;
  }

  async #byId(id: string): Promise<Authority> {
    const authority = await this.#dependencies.authorities.byId(id);
    if (authority === undefined)
      throw new PkiError('NOT_FOUND', `there is no authority ${JSON.stringify(id.slice(0, 64))}`);
    return authority;
  }

  #alone<T>(act: () => Promise<T>): Promise<T> {
    const mine = this.#tail.then(act);
    this.#tail = mine.catch(() => {});
    return mine;
  }
}

/** Some issuer of ours has been, or is, active. */
const everSigned = (all: readonly Authority[]): boolean =>
  all.some(
    (each) =>
      each.kind === 'issuing' &&
      hasOwnKey(each) &&
      (each.activatedAt !== null || maySign(each.state)),
  );
