import { Client, Metadata, type ServiceError } from '@grpc/grpc-js';
import type { KeyObject } from 'node:crypto';
import { PkiError, unwrap } from '../errors/index.ts';
import type { TrustDomain } from '../spiffe/index.ts';
import { createCsr, generateKeyPairAsync, pkcs8Of, spkiOf, verifyX509Svid } from '../x509/index.ts';
import type { EndTokenCertificateResponse__Output } from './generated/meshca/issuer/v1/EndTokenCertificateResponse.ts';
import type { ExchangeTokenResponse__Output } from './generated/meshca/issuer/v1/ExchangeTokenResponse.ts';
import type { ExplainTokenResponse__Output } from './generated/meshca/issuer/v1/ExplainTokenResponse.ts';
import type { IssueWithTokenResponse__Output } from './generated/meshca/issuer/v1/IssueWithTokenResponse.ts';
import type { MethodAt, MethodPathOf } from './method-types.ts';
import { methodDefinition } from './method-messages.ts';
import { verifyServer, type ServerTrust } from './server-trust.ts';
import { fromServiceError } from './status.ts';
import { VerifyingCredentials, type ClientIdentity } from './verifying-credentials.ts';

export interface TokenClientOptions {
  /** HOST:PORT of the server. */
  readonly server: string;
  readonly trustDomain: TrustDomain;
  readonly trust: ServerTrust;
  /** Milliseconds for one call, with its connection. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Unix seconds. */
  readonly now: () => number;
}

export interface TokenSvid {
  readonly spiffeId: string;
  readonly serial: string;
  /** Leaf first. */
  readonly chainDer: readonly Buffer[];
  readonly privateKey: KeyObject;
  readonly rootsDer: readonly Buffer[];
  /** Unix seconds. */
  readonly notAfter: number;
  readonly entryId: string;
}

/**
 * Asks the server for a certificate with a token of another issuer. The key is made here. `key`: of
 * an earlier try, so that a lost answer comes again.
 *
 * @throws PkiError SERVER_UNTRUSTED before anything is sent; UNREACHABLE; the codes of the server
 */
export async function issueWithToken(
  options: TokenClientOptions,
  ask: {
    readonly token: string;
    readonly spiffeId?: string;
    readonly ttlSeconds?: number;
    readonly key?: KeyObject;
  },
): Promise<TokenSvid> {
  const privateKey = ask.key ?? (await newTokenKey());
  const answer: IssueWithTokenResponse__Output = await callOnce(
    options,
    '/meshca.issuer.v1.Pipelines/IssueWithToken',
    {
      token: ask.token,
      csrDer: createCsr(privateKey),
      spiffeId: ask.spiffeId ?? '',
      ttlSeconds: ask.ttlSeconds ?? 0,
    },
  );
  const { chainDer, rootsDer, spiffeId, serial, notAfter, entryId } = answer;
  const svid = unwrap(verifyX509Svid({ chainDer, bundle: () => rootsDer, now: options.now() }));
  if (svid.id.toString() !== spiffeId || !svid.leaf.spkiDer.equals(spkiOf(privateKey)))
    throw new PkiError('SVID_INVALID', 'the server answered with the certificate of somebody else');
  return { spiffeId, serial, chainDer, privateKey, rootsDer, notAfter, entryId };
}

export const newTokenKey = async (): Promise<KeyObject> =>
  (await generateKeyPairAsync('ec-p256')).privateKey;

/** What a token gives. Uses nothing up. */
export const explainToken = (
  options: TokenClientOptions,
  token: string,
): Promise<ExplainTokenResponse__Output> =>
  callOnce(options, '/meshca.issuer.v1.Pipelines/ExplainToken', { token });

/** A key for external account binding, for names. The token counts once. */
export const exchangeToken = (
  options: TokenClientOptions,
  ask: MethodAt<'/meshca.issuer.v1.Pipelines/ExchangeToken'>['requestSent'],
): Promise<ExchangeTokenResponse__Output> =>
  callOnce(options, '/meshca.issuer.v1.Pipelines/ExchangeToken', ask);

/** Gives a certificate back that a token led to. */
export const endTokenCertificate = (
  options: TokenClientOptions,
  svid: Pick<TokenSvid, 'privateKey' | 'chainDer'>,
): Promise<EndTokenCertificateResponse__Output> =>
  callOnce(
    options,
    '/meshca.issuer.v1.TokenCertificates/EndTokenCertificate',
    {},
    { privateKeyPkcs8Der: pkcs8Of(svid.privateKey), chainDer: svid.chainDer },
  );

type TokenMethod = MethodPathOf<
  'unary',
  'meshca.issuer.v1.Pipelines' | 'meshca.issuer.v1.TokenCertificates'
>;

/** One call on a connection of its own. */
async function callOnce<P extends TokenMethod>(
  options: TokenClientOptions,
  path: P,
  request: MethodAt<P>['requestSent'],
  identity?: ClientIdentity,
): Promise<MethodAt<P>['responseRead']> {
  const { server, trustDomain, trust, timeoutMs, signal, now } = options;
  const credentials = new VerifyingCredentials({
    identity: () => identity,
    verify: (socket) => verifyServer(socket, trustDomain, trust, now()),
    handshakeTimeoutMs: timeoutMs,
  });
  const client = new Client(server, credentials, {
    'grpc.enable_http_proxy': 0,
    'grpc.enable_retries': 0,
    'grpc.service_config_disable_resolution': 1,
    'grpc.use_local_subchannel_pool': 1,
  });
  const method = methodDefinition(path);
  const ended = new AbortController();
  try {
    return await new Promise((resolve, reject) => {
      const call = client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        new Metadata(),
        { deadline: Date.now() + timeoutMs },
        (error: ServiceError | null, response?: object) => {
          if (error === null) resolve(response as MethodAt<P>['responseRead']);
          else reject(meaning(error, credentials.lastFailure));
        },
      );
      const stop = (): void => call.cancel();
      if (signal?.aborted === true) stop();
      signal?.addEventListener('abort', stop, { signal: ended.signal });
    });
  } finally {
    ended.abort();
    client.close();
  }
}

/** Why the connection was refused says more than what gRPC makes of it. */
function meaning(error: ServiceError, failure: unknown): PkiError {
  const said = fromServiceError(error);
  return said.code === 'UNREACHABLE' && failure instanceof PkiError ? failure : said;
}
