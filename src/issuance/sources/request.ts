import { PkiError, unwrap } from '../../common/errors/index.ts';
import { uuidv7 } from '../../common/runtime/index.ts';
import { keyTypeOfSpki, sha256Hex, type KeyType } from '../../common/x509/index.ts';
import { assembleCsr, buildAuthorityCsr } from '../../certs/index.ts';
import { preparingAuthority, type Authority, type AuthorityScope } from '../../domain/index.ts';
import type { TokenAdmin } from '../../hsm/token-port.ts';
import { labelOf } from '../authority-maker.ts';
import { authorityEvent } from '../authority-event.ts';
import type { AuthorityRequest } from './authority-request.ts';
import { keepCsr, keptCsr } from './kept-csr.ts';
import type { SourceDependencies } from './source-dependencies.ts';

/**
 * Records a new issuing intermediate. The record with its CKA_ID is durable before the key exists,
 * so that a crash leaves no unknown key.
 */
export async function recordRequest(
  dependencies: SourceDependencies,
  actor: string,
  {
    id,
    keyType = dependencies.plan.keyType,
    scope = {},
    signal,
  }: {
    readonly id?: string | undefined;
    readonly keyType?: KeyType | undefined;
    readonly scope?: AuthorityScope | undefined;
    readonly signal?: AbortSignal | undefined;
  } = {},
): Promise<Authority> {
  const { clock, random } = dependencies;
  const authority = preparingAuthority({
    id: id ?? uuidv7(clock.nowMs()),
    kind: 'issuing',
    keyType,
    token: 'issuing',
    ckaId: random.bytes(16).toString('hex'),
    parentId: null,
    scope,
    createdAt: clock.now(),
  });
  await dependencies.authorities.create(
    authority,
    authorityEvent(
      dependencies,
      { actor, kind: 'authority.prepare', authority },
      {
        keyType,
        token: authority.token,
        source: 'csr',
        scope: JSON.stringify(scope),
      },
    ),
    { signal },
  );
  return authority;
}

/**
 * The CSR of an authority that has no certificate yet. The first call makes its key and the CSR; each
 * later one returns the same bytes, as long as the token has that key.
 */
export async function requestFor(
  dependencies: SourceDependencies,
  actor: string,
  authority: Authority,
): Promise<AuthorityRequest> {
  requirePreparing(authority);
  return withToken(dependencies, async (token) => {
    const { ckaId, keyType } = authority;
    const { spkiDer } =
      (await token.findKey(ckaId)) ??
      (await token.generateKey({
        ckaId,
        label: labelOf(authority, dependencies.trustDomain),
        keyType,
      }));
    dependencies.requestedKeys?.add(sha256Hex(spkiDer));
    const infoDer = buildAuthorityCsr({ trustDomain: dependencies.trustDomain, spkiDer });
    const kept = await keptCsr(dependencies, authority, { infoDer, keyType });
    if (kept !== undefined) return { authority, csrDer: kept };
    const signature = await token.sign({ ckaId, keyType, spkiDer }, infoDer);
    const csrDer = assembleCsr(infoDer, keyType, signature);
    await keepCsr(dependencies, actor, authority, csrDer);
    return { authority, csrDer };
  });
}

/**
 * The public key of a requested authority, read from its token.
 *
 * @throws PkiError HSM_KEY_NOT_FOUND
 */
export async function requestedKey(
  dependencies: SourceDependencies,
  authority: Authority,
): Promise<Buffer> {
  requirePreparing(authority);
  const key = await withToken(dependencies, (token) => token.findKey(authority.ckaId));
  if (key === undefined) {
    throw new PkiError(
      'HSM_KEY_NOT_FOUND',
      `the issuing token holds no key for authority ${authority.id} (CKA_ID ${authority.ckaId})`,
      {
        next: `Make its key and CSR with "meshca authority csr --id ${authority.id}", and have that CSR signed.`,
      },
    );
  }
  if (unwrap(keyTypeOfSpki(key.spkiDer)) !== authority.keyType)
    throw new PkiError(
      'HSM_KEY_UNFIT',
      `the key of authority ${authority.id} is not of type ${authority.keyType}`,
    );
  return key.spkiDer;
}

function requirePreparing(authority: Authority): void {
  if (authority.kind !== 'issuing' || authority.token !== 'issuing')
    throw new PkiError(
      'INVALID_REQUEST',
      `authority ${authority.id} is not an issuing intermediate with its key in a token of this server`,
    );
  if (authority.state === 'preparing') return;
  throw new PkiError(
    'CONFLICT',
    `authority ${authority.id} is ${authority.state}: no certificate can be imported for it`,
    { next: 'Make a new authority: "meshca authority csr --kind issuing".' },
  );
}

async function withToken<T>(
  dependencies: SourceDependencies,
  work: (token: TokenAdmin) => Promise<T>,
): Promise<T> {
  const token = await dependencies.openIssuingToken();
  try {
    return await work(token);
  } finally {
    await token.close();
  }
}
