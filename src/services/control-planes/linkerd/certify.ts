import { PkiError, unwrap } from '../../../common/errors/index.ts';
import { KeyedBuckets, type Clock } from '../../../common/runtime/index.ts';
import { sha256Hex } from '../../../common/x509/index.ts';
import {
  linkerdHolder,
  linkerdName,
  type LinkerdControlPlane,
  type Requester,
} from '../../../domain/index.ts';
import type { IssuedLeaf, Issuer } from '../../../issuance/issuer.ts';
import { issueOne } from '../../issuing/decided.ts';
import type { Refusals } from '../../callers/callers.ts';
import { enforceRate } from '../../requests.ts';
import type { ServiceSettings } from '../../settings.ts';
import type { KubernetesIdentity, TokenVerifier, VerifiedToken } from '../../tokens/index.ts';
import { proxyCsr } from './csr-rules.ts';
import { statusOfLinkerd } from './status.ts';

export interface CertifyRequest {
  readonly identity: string;
  readonly token: Buffer;
  readonly certificateSigningRequest: Buffer;
}

/** What makes two calls the same one. */
interface Ask {
  readonly requester: string;
  readonly credentialSha256: string;
  readonly csrDer: Buffer;
  readonly publicKeySha256: string;
}

export interface CertifyDependencies {
  readonly tokens: Pick<TokenVerifier, 'verify'>;
  readonly issuer: Issuer;
  /** The ID of an ask: the same one for a repetition within a short time. */
  readonly repeats: { requestIdOf(ask: Ask): Promise<string> };
  readonly refusals: Pick<Refusals, 'refused' | 'refusedAs' | 'mark'>;
  readonly clock: Clock;
  readonly settings: Pick<ServiceSettings, 'signingRate' | 'maximumX509TtlSeconds'>;
}

export interface CertifySettings extends LinkerdControlPlane {
  readonly audiences: readonly string[];
  readonly ttlSeconds: number;
}

const operation = 'Certify';

/** A service account that a token proved. */
interface Proved {
  readonly token: VerifiedToken;
  readonly account: KubernetesIdentity;
  readonly requester: Requester;
}

/**
 * Certificates for proxies of Linkerd. The identity comes from the service account of the token; the
 * identity and the names of the request are compared with it. Owner of the rates.
 */
export class LinkerdCertify {
  readonly #plane: CertifySettings;
  readonly #dependencies: CertifyDependencies;
  readonly #buckets: KeyedBuckets;

  constructor(plane: CertifySettings, dependencies: CertifyDependencies) {
    this.#plane = plane;
    this.#dependencies = dependencies;
    this.#buckets = new KeyedBuckets(dependencies.settings.signingRate, dependencies.clock);
  }

  /** @throws PkiError with the status that Linkerd's own identity service answers */
  async certify(request: CertifyRequest, peer: string, signal?: AbortSignal): Promise<IssuedLeaf> {
    const { refusals } = this.#dependencies;
    let requester: Requester | undefined;
    try {
      requireFields(request);
      const proved = await this.#prove(request.token, peer, signal);
      requester = proved.requester;
      return await this.#issue(request, proved, signal);
    } catch (thrown) {
      const error = PkiError.from(thrown);
      const subject = request.identity.slice(0, 300);
      const refusalId =
        requester === undefined
          ? await refusals.refused({ class: 'anonymous', peer }, operation, error, subject)
          : await refusals.refusedAs(requester.name, operation, error, subject);
      const answer = statusOfLinkerd(error);
      refusals.mark(answer, refusalId);
      throw answer;
    }
  }

  async #prove(token: Buffer, peer: string, signal: AbortSignal | undefined): Promise<Proved> {
    const { tokens } = this.#dependencies;
    const demand = { purpose: 'linkerd', audiences: this.#plane.audiences, peer } as const;
    const verified = unwrap(await tokens.verify(token.toString('latin1'), demand, signal));
    const account = verified.kubernetes;
    if (account === undefined)
      throw new PkiError(
        'TOKEN_ISSUER_UNKNOWN',
        `the issuer ${verified.issuer} issues no service account tokens`,
      );
    const { cluster, namespace, serviceAccount } = account;
    const name = `kubernetes:${cluster}/${namespace}/${serviceAccount}`;
    return { token: verified, account, requester: { class: 'token', name } };
  }

  async #issue(
    { identity, token, certificateSigningRequest: csrDer }: CertifyRequest,
    { token: verified, account, requester }: Proved,
    signal: AbortSignal | undefined,
  ): Promise<IssuedLeaf> {
    const { repeats, settings } = this.#dependencies;
    const own = linkerdName(this.#plane, account);
    if (identity !== own)
      throw new PkiError(
        'TOKEN_IDENTITY_MISMATCH',
        `the token is that of ${own}, the request asks for ${JSON.stringify(identity.slice(0, 300))}`,
      );
    const csr = unwrap(proxyCsr(csrDer, identity));
    enforceRate(this.#buckets.take(requester.name), 'too many certificates');
    const publicKeySha256 = sha256Hex(csr.spkiDer);
    const requestId = await repeats.requestIdOf({
      requester: requester.name,
      credentialSha256: sha256Hex(token),
      csrDer,
      publicKeySha256,
    });
    const { cluster, namespace, serviceAccount, pod } = account;
    return issueOne(this.#dependencies, {
      requestId,
      csrDer,
      subject: { kind: 'names', dnsNames: [identity], ips: [] },
      kind: 'linkerd',
      profile: 'linkerd',
      ttlSeconds: Math.min(this.#plane.ttlSeconds, settings.maximumX509TtlSeconds),
      endsWithIssuer: true,
      caller: requester,
      holder: linkerdHolder({
        cluster,
        namespace,
        workload: pod?.name ?? serviceAccount,
        publicKeySha256,
      }),
      entryId: null,
      delegationId: null,
      replaces: null,
      rights: [],
      keyTypes: ['ec-p256'],
      reason: {
        method: 'linkerd',
        issuer: verified.issuer,
        account: verified.subject,
        ...(pod === undefined ? {} : { pod: pod.name, podUid: pod.uid }),
      },
      signal,
    });
  }
}

function requireFields({ identity, token, certificateSigningRequest }: CertifyRequest): void {
  const missing = Object.entries({ identity, token, certificateSigningRequest }).find(
    ([, value]) => value.length === 0,
  );
  if (missing !== undefined)
    throw new PkiError('INVALID_REQUEST', `the request has no ${missing[0]}`);
}
