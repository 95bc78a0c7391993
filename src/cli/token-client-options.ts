import { PkiError, unwrap } from '../common/errors/index.ts';
import { TrustDomain } from '../common/spiffe/index.ts';
import { certificatesFromPem } from '../common/x509/index.ts';
import type { ServerTrust } from '../common/wire/index.ts';
import type { TokenClientOptions } from '../common/wire/token-client.ts';
import type { GlobalOptions } from './action.ts';
import type { CliContext } from './context.ts';
import { readBytes } from './files.ts';
import { fingerprintsOf } from './server-issuer.ts';

/** How a caller with a token, and without a certificate, finds and believes the server. */
export interface TokenClientFlags {
  readonly oidc?: boolean;
  readonly trustDomain?: string;
  readonly rootFingerprint?: string;
}

export const tokenCallTimeoutMs = 20_000;

/** @throws PkiError INVALID_REQUEST if the options do not fit together */
export function tokenClientOf(
  context: CliContext,
  options: TokenClientFlags & GlobalOptions,
  issuersSha256: readonly string[],
): TokenClientOptions {
  const { server, bundle, rootFingerprint, trustDomain } = options;
  const wrong = (message: string, next: string): PkiError =>
    new PkiError('INVALID_REQUEST', message, { next });
  if (options.oidc !== true) throw wrong('how the caller proves itself is missing', 'Give --oidc.');
  if (server === undefined)
    throw wrong('--server, the address of the CA, is missing', 'Give --server HOST:PORT.');
  if (trustDomain === undefined)
    throw wrong(
      '--trust-domain is missing',
      'Give --trust-domain, as trustDomain of the server says.',
    );
  if ((bundle === undefined) === (rootFingerprint === undefined))
    throw wrong(
      'exactly one of --bundle and --root-fingerprint is needed',
      'Give what "meshca bundle show" prints on the machine of the server: a file of the ' +
        'roots, or the fingerprint of one.',
    );
  const roots = bundle === undefined ? [] : rootsInPem(readBytes(bundle), bundle);
  const issuers = () =>
    issuersSha256.length === 0
      ? ({ kind: 'mark' } as const)
      : ({ kind: 'keys', sha256Hex: new Set(issuersSha256) } as const);
  const settings = { root: '--root-fingerprint', issuer: '--issuer-fingerprint' };
  const trust: ServerTrust =
    rootFingerprint === undefined
      ? { kind: 'bundle', roots: () => roots, issuers, settings }
      : {
          kind: 'fingerprint',
          rootsSha256Hex: fingerprintsOf(rootFingerprint, '--root-fingerprint'),
          issuers,
          settings,
        };
  return {
    server,
    trustDomain: unwrap(TrustDomain.parseName(trustDomain)),
    trust,
    timeoutMs: tokenCallTimeoutMs,
    signal: context.signal,
    now: context.now,
  };
}

/** @throws PkiError INVALID_REQUEST */
export function rootsInPem(pem: Buffer, path: string): readonly Buffer[] {
  const roots = certificatesFromPem(pem.toString('utf8'));
  if (!roots.ok || roots.value.length === 0)
    throw new PkiError('INVALID_REQUEST', `${path} holds no certificates in PEM`);
  return roots.value;
}
