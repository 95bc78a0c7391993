import { PkiError } from '../common/errors/index.ts';
import { ecdsaNoteKey, type NoteKey } from '../common/tlog/index.ts';
import type { TrustDomain } from '../common/spiffe/index.ts';
import type { Authority } from '../domain/index.ts';
import { signatureOf } from '../hsm/signature-of.ts';
import type { Signers } from '../hsm/signing-port.ts';

export interface LogAuthorityDependencies {
  readonly signers: Pick<Signers, 'useKey'>;
  /** The log authority that signed the newest checkpoint; the active one of an empty log. */
  readonly authority: Authority;
  /**
   * Further log authorities in the database. One is ours if its token holds its key, or if it is
   * `proven`. Then its seals count, and exports contain its key. One of them signs while the key of
   * `authority` can not be used.
   */
  readonly others?: readonly Authority[];
  /** Whether the log vouches for the row of the authority. */
  readonly proven: (authority: Authority) => boolean;
  readonly trustDomain: TrustDomain;
}

/** Key name and origin of the log of a trust domain. */
export const logOrigin = (trustDomain: TrustDomain): string => `${trustDomain.name}/meshca/audit`;

export const noteKeyOf = (
  { trustDomain }: Pick<LogAuthorityDependencies, 'trustDomain'>,
  { spkiDer }: Authority,
): NoteKey => ecdsaNoteKey(logOrigin(trustDomain), spkiDer as Buffer);

/**
 * Proves that the token holds this very key. The row alone would not prove it.
 *
 * @throws PkiError HSM_*
 */
export const useKeyOf = (
  { ckaId, keyType, spkiDer, token }: Authority,
  { signers }: Pick<LogAuthorityDependencies, 'signers'>,
): Promise<void> => signers.useKey({ ckaId, keyType, spkiDer: spkiDer as Buffer, token });

export interface LogAuthorities {
  /** The authority whose key signs from this start on. */
  readonly signer: Authority;
  readonly ours: readonly Authority[];
}

/**
 * The authority that signed last continues. If its token is missing, another one with its token
 * takes over. The key of an `old` authority signs nothing more: if such a key signed last and is
 * missing, the database is not the newest one. An authority whose last change is not in the tree
 * yet is not proven, but its token still shows that it is ours.
 *
 * @throws PkiError HSM_* of the authority that signed last
 */
export async function findAuthorities(
  dependencies: LogAuthorityDependencies,
): Promise<LogAuthorities> {
  const { authority, others = [], proven } = dependencies;
  const failure = await keyFailure(authority, dependencies);
  if (failure !== undefined && authority.state === 'old') throw failure;
  const here = new Set<Authority>();
  for (const other of others)
    if ((await keyFailure(other, dependencies)) === undefined) here.add(other);
  const [standIn] = here;
  if (failure !== undefined && standIn === undefined) throw failure;
  return {
    signer: failure === undefined ? authority : (standIn as Authority),
    ours: [authority, ...others.filter((other) => here.has(other) || proven(other))],
  };
}

const keyFailure = (
  authority: Authority,
  dependencies: LogAuthorityDependencies,
): Promise<PkiError | undefined> =>
  useKeyOf(authority, dependencies).then(
    () => undefined,
    (thrown: unknown) => PkiError.from(thrown),
  );

/**
 * A signature with the key of a log authority.
 *
 * @throws PkiError HSM_*
 */
export const signText = (
  text: string,
  { ckaId }: Pick<Authority, 'ckaId'>,
  signers: Pick<Signers, 'sign'>,
): Promise<Buffer> =>
  signatureOf(signers, { ckaId, bytes: Buffer.from(text, 'utf8'), format: 'x509' });
