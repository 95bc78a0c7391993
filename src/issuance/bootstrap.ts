import { PkiError } from '../common/errors/index.ts';
import { errorFields, type Logger } from '../common/runtime/index.ts';
import { sha256Hex } from '../common/x509/index.ts';
import {
  isBesideMesh,
  issuingKindBelow,
  type Authority,
  type AuthorityKind,
  type AuthorityState,
  type TokenRole,
} from '../domain/index.ts';
import { keyLabelPrefix, type TokenAdmin } from '../hsm/token-port.ts';
import type { AuthorityStore } from '../store/ports/index.ts';
import { authorityEvent } from './authority-event.ts';
import { completeAuthority, recordAuthority, type MakerDependencies } from './authority-maker.ts';

export interface BootstrapDependencies extends MakerDependencies {
  readonly authorities: AuthorityStore;
  /** Opens a session process on a token. The caller closes it when its work is done. */
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  /**
   * False if another CA certifies our issuing intermediates; then only the JWT authority is made
   * here. Default: true.
   */
  readonly ownRoot?: boolean;
  /** Whether root and issuing authority of names are made. Default: false. */
  readonly names?: boolean;
  /**
   * Asked before an authority is made, or activated without proof: an altered row of one that signs
   * would look like a first start.
   *
   * @throws PkiError OBJECT_NOT_IN_LOG
   */
  readonly requireProven: () => Promise<void>;
  readonly logger: Logger;
  /**
   * Set after an accepted restore: keys of authorities whose records were lost are ignored and do
   * not stop the start.
   */
  readonly tolerateUnknownKeys?: boolean;
  /**
   * Receives the SHA-256 of the public keys of authorities without a certificate, read from an open
   * token.
   */
  readonly requestedKeys?: Set<string>;
}

/**
 * Creates the authorities on a first start, or resumes after a crash. The record with its CKA_ID is
 * durable before the key is made. Therefore a key found under a recorded CKA_ID is ours and is
 * used, and no second root arises.
 *
 * @throws PkiError TOKEN_FOREIGN (fatal) if the token holds keys of ours that the database does not
 *   know
 */
export async function bootstrapAuthorities(dependencies: BootstrapDependencies): Promise<void> {
  const existing = await dependencies.authorities.list();
  const complete = (kind: AuthorityKind): boolean =>
    existing.some(
      (authority) =>
        authority.kind === kind &&
        authority.state !== 'preparing' &&
        authority.state !== 'prepared' &&
        authority.state !== 'published',
    );
  await withToken(dependencies, 'issuing', async (issuingToken) => {
    await checkToken(issuingToken, 'issuing', existing, dependencies);
    const isDue = (root: RootKind): boolean => !complete(root) || !complete(issuingKindBelow(root));
    const hierarchy = (root: RootKind) => bringHierarchy(root, issuingToken, dependencies);
    const first = !complete('jwt');
    if (dependencies.ownRoot !== false && isDue('root')) await hierarchy('root');
    if (first) await bring('jwt', { token: issuingToken }, dependencies);
    if (!complete('log')) await bring('log', { token: issuingToken }, dependencies);
    if (dependencies.names === true && isDue('names-root'))
      await (first ? hierarchy('names-root') : apart(() => hierarchy('names-root'), dependencies));
  });
}

type RootKind = 'root' | 'names-root';

/** Makes a root and the first issuing authority below it. */
async function bringHierarchy(
  kind: RootKind,
  issuingToken: TokenAdmin,
  dependencies: BootstrapDependencies,
): Promise<void> {
  const existing = await dependencies.authorities.list();
  await withToken(dependencies, 'root', async (rootToken) => {
    await checkToken(rootToken, 'root', existing, dependencies);
    const parent = await bring(kind, { token: rootToken, signingToken: rootToken }, dependencies);
    await bring(
      issuingKindBelow(kind),
      { parent, token: issuingToken, signingToken: rootToken },
      dependencies,
    );
  });
}

/** A server that already serves a mesh starts also where the authorities of names can't be made. */
async function apart(work: () => Promise<void>, { logger }: BootstrapDependencies): Promise<void> {
  try {
    await work();
  } catch (thrown) {
    logger.error(
      { ...errorFields(thrown), alert: true },
      'the authorities of names could not be made: certificates for names are refused, and the ' +
        'next start tries again',
    );
  }
}

/**
 * Moves one authority from any state to `active`. On a first start no consumer holds a bundle yet,
 * so that nothing has to be confirmed.
 */
async function bring(
  kind: AuthorityKind,
  {
    parent,
    token,
    signingToken,
  }: {
    readonly parent?: Authority;
    readonly token: TokenAdmin;
    /** Absent where there is no certificate. */
    readonly signingToken?: TokenAdmin;
  },
  dependencies: BootstrapDependencies,
): Promise<Authority> {
  await dependencies.requireProven();
  const recorded = (await dependencies.authorities.list({ kind })).find((authority) =>
    ['preparing', 'prepared', 'published', 'active'].includes(authority.state),
  );
  let authority =
    recorded ?? (await recordAuthority({ kind, parentId: parent?.id ?? null }, dependencies));
  dependencies.step?.(`${kind}-recorded`);
  if (authority.state === 'preparing')
    authority = await completeAuthority({ authority, parent, token, signingToken }, dependencies);
  for (const to of ['published', 'active'] as const) {
    if (isBefore(authority.state, to))
      authority = await dependencies.authorities.transition(
        { id: authority.id, version: authority.version, now: dependencies.clock.now() },
        to,
        authorityEvent(
          dependencies,
          { actor: 'server', kind: `authority.${to}`, authority },
          {
            reason: 'first start',
          },
        ),
      );
    dependencies.step?.(`${kind}-${to}`);
  }
  return authority;
}

async function checkToken(
  token: TokenAdmin,
  role: TokenRole,
  known: readonly Authority[],
  dependencies: BootstrapDependencies,
): Promise<void> {
  const keys = await token.listKeys();
  const ours = keys.filter((key) => key.label.startsWith(keyLabelPrefix));
  const prefix = `${keyLabelPrefix}${dependencies.trustDomain.name}/`;
  const otherDomain = ours.find((key) => !key.label.startsWith(prefix));
  if (otherDomain !== undefined) {
    throw new PkiError(
      'TOKEN_FOREIGN',
      `the ${role} token holds a key of another trust domain: ${otherDomain.label}`,
      { grade: 'fatal', detail: { token: role, label: otherDomain.label } },
    );
  }
  const recorded = new Set(known.map((authority) => authority.ckaId));
  const unknown = ours.find((key) => !recorded.has(key.ckaId));
  if (unknown !== undefined && dependencies.tolerateUnknownKeys === true) {
    dependencies.logger.warn(
      { token: role, label: unknown.label, ckaId: unknown.ckaId },
      'the token holds a key that this database does not know: its record was lost with the ' +
        'restore, and it signs nothing',
    );
  } else if (unknown !== undefined) {
    throw new PkiError(
      'TOKEN_FOREIGN',
      `the ${role} token holds the key ${unknown.label} (CKA_ID ${unknown.ckaId}), which this database does not know`,
      {
        grade: 'fatal',
        detail: { token: role, label: unknown.label, ckaId: unknown.ckaId },
        next:
          'Connect the database that belongs to this token (restore it from its backup), or ' +
          'start with a new token. Nothing was changed.',
      },
    );
  }
  const waiting = new Set(
    known.filter(({ spkiDer }) => spkiDer === null).map(({ ckaId }) => ckaId),
  );
  for (const key of keys)
    if (waiting.has(key.ckaId)) dependencies.requestedKeys?.add(sha256Hex(key.spkiDer));
  requireKeys(role, known, new Set(keys.map((key) => key.ckaId)));
}

/** @throws PkiError HSM_KEY_NOT_FOUND (fatal) if an authority of the mesh has no key in its token */
function requireKeys(
  role: TokenRole,
  known: readonly Authority[],
  present: ReadonlySet<string>,
): void {
  const missing = known.find(
    (authority) =>
      authority.token === role &&
      // its loss ends certificates for names, and not the mesh
      !isBesideMesh(authority.kind) &&
      authority.spkiDer !== null &&
      mustBePresent(authority.state) &&
      !present.has(authority.ckaId),
  );
  if (missing !== undefined) {
    throw new PkiError(
      'HSM_KEY_NOT_FOUND',
      `the ${role} token lacks the key of the ${missing.kind} authority ${missing.id} (CKA_ID ${missing.ckaId})`,
      { grade: 'fatal' },
    );
  }
}

async function withToken<T>(
  dependencies: BootstrapDependencies,
  role: TokenRole,
  work: (token: TokenAdmin) => Promise<T>,
): Promise<T> {
  const token = await dependencies.openToken(role);
  try {
    return await work(token);
  } finally {
    await token.close();
  }
}

const order: readonly AuthorityState[] = ['preparing', 'prepared', 'published', 'active'];
const isBefore = (state: AuthorityState, to: AuthorityState): boolean =>
  order.includes(state) && order.indexOf(state) < order.indexOf(to);
const mustBePresent = (state: AuthorityState): boolean =>
  state === 'prepared' || state === 'published' || state === 'active';
