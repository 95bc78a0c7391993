import { PkiError, unwrap } from '../common/errors/index.ts';
import { TrustDomain } from '../common/spiffe/index.ts';
import type { ServerTrust } from '../common/wire/server-trust.ts';
import {
  endTokenCertificate,
  issueWithToken as issue,
  newTokenKey,
} from '../common/wire/token-client.ts';
import { whileItMayPass } from '../common/wire/token-retry.ts';
import {
  certificatesFromPem,
  certificatesToPem,
  parseFingerprint,
  pemEncode,
  pkcs8Of,
} from '../common/x509/index.ts';

export interface TokenSvidOptions {
  /** HOST:PORT of the server. */
  readonly server: string;
  /** The trust domain of the server, for example `mesh.example.org`. */
  readonly trustDomain: string;
  /** The token as the issuer gave it. It counts once. */
  readonly token: string;
  /** PEM of the roots under which the server is believed; or see `rootFingerprints`. */
  readonly rootsPem?: string;
  /**
   * SHA-256 (hex) of roots of the server, one of which it must show. Upper case, colons and the prefix
   * `sha256:` may stand in fingerprints.
   */
  readonly rootFingerprints?: readonly string[];
  /** SHA-256 (hex) of keys of its issuing authorities, for a nested server or a root of others. */
  readonly issuerFingerprints?: readonly string[];
  /** The identity that is wanted; needed where the token gives several. */
  readonly spiffeId?: string;
  /** Default: as long as the entry says. */
  readonly ttlSeconds?: number;
  /** Of one call with its connection; default 20 s. */
  readonly timeoutMs?: number;
  /** How long to try again while the CA or the issuer can not answer; default 30 s. */
  readonly waitMs?: number;
  readonly signal?: AbortSignal;
}

/** A certificate that a token led to. Nothing renews it: ask again with a new token. */
export interface TokenIdentity extends AsyncDisposable {
  readonly spiffeId: string;
  readonly serial: string;
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
  /** The roots of the trust domain at this instant. */
  readonly rootsPem: string;
  /** Unix seconds. */
  readonly notAfter: number;
  /**
   * Gives the certificate back: the token leads to it no more, and it is revoked where its profile
   * allows that. Drop the key then. At most once; `[Symbol.asyncDispose]` does the same.
   */
  giveBack(): Promise<{ readonly revoked: boolean; readonly notAfter: number }>;
}

/**
 * A certificate by one call, without an agent: by the token of a CI job, a pod or a cloud machine.
 * The key is made here and never sent. The server is verified before the token leaves.
 *
 * @throws PkiError SERVER_UNTRUSTED, UNREACHABLE, TOKEN_*, ENTRY_NOT_AUTHORIZED
 */
export async function issueWithToken(options: TokenSvidOptions): Promise<TokenIdentity> {
  const { server, token, spiffeId, ttlSeconds, signal } = options;
  const client = {
    server,
    trustDomain: unwrap(TrustDomain.parseName(options.trustDomain)),
    trust: trustOf(options),
    timeoutMs: options.timeoutMs ?? 20_000,
    now: () => Math.floor(Date.now() / 1000),
  };
  const ask = {
    token,
    key: await newTokenKey(),
    ...(spiffeId === undefined ? {} : { spiffeId }),
    ...(ttlSeconds === undefined ? {} : { ttlSeconds }),
  };
  const svid = await whileItMayPass({ waitMs: options.waitMs ?? 30_000, signal }, () =>
    issue({ ...client, signal }, ask),
  );
  let given: ReturnType<TokenIdentity['giveBack']> | undefined;
  const giveBack = (): ReturnType<TokenIdentity['giveBack']> =>
    (given ??= endTokenCertificate(client, svid));
  return {
    spiffeId: svid.spiffeId,
    serial: svid.serial,
    certificateChainPem: certificatesToPem(svid.chainDer),
    privateKeyPem: pemEncode('PRIVATE KEY', pkcs8Of(svid.privateKey)),
    rootsPem: certificatesToPem(svid.rootsDer),
    notAfter: svid.notAfter,
    giveBack,
    [Symbol.asyncDispose]: async () => void (await giveBack()),
  };
}

function trustOf({ rootsPem, ...options }: TokenSvidOptions): ServerTrust {
  const rootFingerprints = fingerprintsOf(options.rootFingerprints);
  const issuerFingerprints = fingerprintsOf(options.issuerFingerprints);
  const issuers = () =>
    issuerFingerprints.length === 0
      ? ({ kind: 'mark' } as const)
      : ({ kind: 'keys', sha256Hex: new Set(issuerFingerprints) } as const);
  const settings = { root: 'rootFingerprints', issuer: 'issuerFingerprints' };
  if ((rootsPem === undefined) === (rootFingerprints.length === 0))
    throw new PkiError('INVALID_REQUEST', 'exactly one of rootsPem and rootFingerprints is needed');
  if (rootsPem === undefined)
    return { kind: 'fingerprint', rootsSha256Hex: rootFingerprints, issuers, settings };
  const roots = unwrap(certificatesFromPem(rootsPem));
  return { kind: 'bundle', roots: () => roots, issuers, settings };
}

const fingerprintsOf = (texts: readonly string[] = []): readonly string[] =>
  texts.map((text) => unwrap(parseFingerprint(text)));
