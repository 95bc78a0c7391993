import { PkiError } from '../../common/errors/index.ts';
import type { KeyType } from '../../common/x509/index.ts';
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
import { rootChanged } from './upstream-root.ts';

/**
 * Issuing intermediates that another CA certifies: an offline ceremony, a company CA, Vault or
 * OpenBao. Their keys are in our token. Everything that comes back from outside is checked before
 * it is recorded. Runs one act at a time. If the `signal` of an act is aborted before its first
 * write, it writes nothing. Otherwise it is finished.
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
   * A CSR for the authority that a rotation waits for, for a new authority, or again for the named
   * authority that waits for its certificate.
   */
  request(input: {
    readonly actor: string;
    readonly id?: string;
    readonly keyType?: KeyType;
    readonly scope?: Pick<AuthorityScope, 'replica' | 'region'>;
    readonly signal?: AbortSignal | undefined;
  }): Promise<AuthorityRequest> {
    const { actor, id, keyType, scope, signal } = input;
    return this.#alone(async () => {
      // an authority of a replica or region is additional: no rotation replaces it
      const fresh = () =>
        scope === undefined
          ? this.#requested({ actor, keyType, signal })
          : recordRequest(this.#dependencies, actor, { keyType, scope, signal });
      const authority = id === undefined ? await fresh() : await this.#byId(id);
      return requestFor(this.#dependencies, actor, authority);
    }, signal);
  }

  /**
   * Checks and records a chain for a requested authority. With `dryRun` nothing is written, and
   * `authority` is returned unchanged.
   */
  importChain(input: {
    readonly actor: string;
    readonly id: string;
    readonly certificatesDer: readonly Buffer[];
    readonly rootSha256?: string;
    readonly dryRun?: boolean;
    readonly signal?: AbortSignal | undefined;
  }): Promise<ImportedAuthority | { readonly warnings: readonly string[] }> {
    return this.#alone(async () => {
      const authority = await this.#byId(input.id);
      const { chain, spkiDer } = await checkImport(this.#dependencies, {
        authority,
        certificatesDer: input.certificatesDer,
        ...(input.rootSha256 === undefined ? {} : { rootSha256: input.rootSha256 }),
      });
      if (input.dryRun === true) return { warnings: chain.warnings };
      input.signal?.throwIfAborted();
      return this.#handOn(
        input.actor,
        await recordImport(this.#dependencies, input.actor, authority, { chain, spkiDer }),
      );
    }, input.signal);
  }

  /**
   * Makes a new issuing intermediate, certified by the upstream and left `prepared` (on a first
   * start: `active`). A request that the upstream did not answer earlier is resumed with its key.
   *
   * @throws PkiError UPSTREAM_*, and the codes of an import
   */
  prepareUpstream(actor: string, signal?: AbortSignal): Promise<ImportedAuthority> {
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
            ).find((authority) => authority.token === 'issuing')
          : undefined;
      const authority = waiting ?? (await this.#requested({ actor, signal }));
      const { csrDer } = await requestFor(this.#dependencies, actor, authority);
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
    }, signal);
  }

  /** Continues a first start that a crash stopped between import and `active`. */
  resumeFirst(actor: string): Promise<void> {
    return this.#alone(async () => {
      const all = await this.#dependencies.authorities.list();
      const imported = all.find(
        (authority) =>
          authority.kind === 'issuing' &&
          hasOwnKey(authority) &&
          (authority.state === 'prepared' || authority.state === 'published'),
      );
      if (imported === undefined || everSigned(all)) return;
      const above = [...authoritiesAbove(imported, all)];
      const root = above.pop();
      if (root !== undefined)
        await this.#handOn(actor, {
          authority: imported,
          root,
          above,
          warnings: [],
          activated: false,
        });
    });
  }

  async #requested({
    actor,
    keyType,
    signal,
  }: {
    readonly actor: string;
    readonly keyType?: KeyType | undefined;
    readonly signal: AbortSignal | undefined;
  }): Promise<Authority> {
    const id = await this.awaited();
    const recorded = id === undefined ? undefined : await this.#dependencies.authorities.byId(id);
    return recorded ?? recordRequest(this.#dependencies, actor, { id, keyType, signal });
  }

  /**
   * An attacker who controls an upstream could bring his own root into the mesh. Therefore a person
   * must name a new root.
   */
  async #requireExpectedRoot(rootDer: Buffer, pinned: boolean): Promise<void> {
    const all = await this.#dependencies.authorities.list();
    if (pinned || !everSigned(all)) return;
    const trusted = all
      .filter(({ kind, state }) => kind === 'root' && isTrusted(state))
      .flatMap(({ certificateDer }) => certificateDer ?? []);
    if (!trusted.some((der) => der.equals(rootDer))) throw rootChanged(rootDer, trusted);
  }

  /**
   * Before the first issuer no consumer holds a bundle. Only then nothing has to be confirmed, and
   * all authorities are activated, roots first. Later, rotation activates them.
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
    for (const ancestor of [...imported.above].reverse())
      above.unshift(await this.#activate(actor, ancestor));
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

  #alone<T>(act: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const mine = this.#tail.then(() => {
      signal?.throwIfAborted();
      return act();
    });
    this.#tail = mine.catch(() => {});
    return mine;
  }
}

/** Whether an issuer of ours is or was active. */
const everSigned = (all: readonly Authority[]): boolean =>
  all.some(
    (authority) =>
      authority.kind === 'issuing' &&
      hasOwnKey(authority) &&
      (authority.activatedAt !== null || maySign(authority.state)),
  );
