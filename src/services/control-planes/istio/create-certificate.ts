import { parseCsr } from '../../../certs/index.ts';
import { PkiError, unwrap } from '../../../common/errors/index.ts';
import { KeyedBuckets } from '../../../common/runtime/index.ts';
import { controlPlaneId, type SpiffeId } from '../../../common/spiffe/index.ts';
import {
  certificatesToPem,
  csrFromPem,
  sha256Hex,
  type KeyType,
} from '../../../common/x509/index.ts';
import { refuseImpersonation } from '../../../common/wire/index.ts';
import type { IstioCertificateRequest__Output } from '../../../common/wire/generated/istio/v1/auth/IstioCertificateRequest.ts';
import type { IstioCertificateResponse } from '../../../common/wire/generated/istio/v1/auth/IstioCertificateResponse.ts';
import {
  chooseDelegation,
  shortLivedMaximumSeconds,
  spiffeSubject,
} from '../../../domain/index.ts';
import type { IssuedLeaf, LeafRequest } from '../../../issuance/issuer.ts';
import { issueOne } from '../../issuing/decided.ts';
import { enforceRate, ttlClamped } from '../../requests.ts';
import type { ControlPlaneCall, ControlPlaneDependencies } from '../control-plane.ts';
import { IstioCallers, type IstioCaller, type MachineCaller, type PodCaller } from './callers.ts';
import type { IstioConfiguration } from './configuration.ts';

const operation = 'CreateCertificate';

/** The CSR of a request. Only its key is used. */
interface ReadCsr {
  readonly csrDer: Buffer;
  readonly keyType: KeyType;
  readonly publicKeySha256: string;
}

/** What grants the certificate: the decision of the service. */
type Granted = Pick<
  LeafRequest,
  'profile' | 'ttlSeconds' | 'entryId' | 'delegationId' | 'rights' | 'keyTypes' | 'reason'
>;

/**
 * Certificates for the workloads of Istio. The identity is that of the token's service account, and
 * is given where a delegation of this front and the issuer of the token covers it; a virtual machine
 * gets that of its entry. All certificates are of the kind `delegated`: none is a credential for
 * another one. Owner of the rates.
 */
export class CreateCertificate {
  readonly #dependencies: ControlPlaneDependencies;
  readonly #callers: IstioCallers;
  readonly #buckets: KeyedBuckets;

  constructor(configuration: IstioConfiguration, dependencies: ControlPlaneDependencies) {
    this.#dependencies = dependencies;
    this.#callers = new IstioCallers(configuration, dependencies);
    this.#buckets = new KeyedBuckets(dependencies.settings.signingRate, dependencies.clock);
  }

  /** @throws PkiError, with a status that Istio's clients tell apart */
  async create(
    call: ControlPlaneCall,
    request: IstioCertificateRequest__Output,
  ): Promise<IstioCertificateResponse> {
    const { refusals } = this.#dependencies;
    let caller: IstioCaller | undefined;
    try {
      caller = await this.#callers.of(call);
      refuseImpersonation(request);
      return this.#answer(await this.#issue(call, caller, request));
    } catch (thrown) {
      const error = PkiError.from(thrown);
      if (caller === undefined) await refusals.refused(call.caller, operation, error);
      else await refusals.refusedAs(caller.requester.name, operation, error, caller.subject);
      throw error;
    }
  }

  async #issue(
    call: ControlPlaneCall,
    caller: IstioCaller,
    request: IstioCertificateRequest__Output,
  ): Promise<IssuedLeaf> {
    const { repeats } = this.#dependencies;
    enforceRate(this.#buckets.take(caller.requester.name), 'too many certificates');
    const csr = readCsr(request.csr);
    const granted =
      caller.kind === 'pod'
        ? await this.#grantOfPod(caller, csr.keyType, request)
        : await this.#grantOfMachine(caller, request);
    const requestId = await repeats.requestIdOf({
      requester: caller.requester.name,
      credentialSha256: caller.credentialSha256,
      ...csr,
    });
    return issueOne(this.#dependencies, {
      ...granted,
      requestId,
      csrDer: csr.csrDer,
      subject: spiffeSubject(caller.identity),
      kind: 'delegated',
      endsWithIssuer: true,
      caller: caller.requester,
      holder: caller.holder,
      replaces: null,
      signal: call.signal,
    });
  }

  /** The first delegation that covers the identity of the pod. */
  async #grantOfPod(
    { identity, token, kubernetes }: PodCaller,
    keyType: KeyType,
    request: IstioCertificateRequest__Output,
  ): Promise<Granted> {
    const { store, settings, clock } = this.#dependencies;
    if (store.objects.isAdminId(identity.toString()))
      throw new PkiError(
        'OUTSIDE_DELEGATION',
        `${identity.toString()} is the identity of an admin`,
      );
    const clientId = controlPlaneId(settings.trustDomain, 'istio', token.issuer).toString();
    const active = await store.delegations.activeFor(clientId, clock.now());
    const chosen = chooseDelegation(
      active.map((delegation) => store.objects.require('delegation', delegation)),
      { spiffeId: identity, dnsNames: [], ttlSeconds: 0, keyType },
    );
    if (!chosen.ok) {
      store.delegations.compareSoon();
      throw ungranted(chosen.error, identity, clientId);
    }
    const { delegation } = chosen.value;
    const { namespace, serviceAccount, pod, cluster } = kubernetes;
    return {
      profile: delegation.profile,
      ttlSeconds: this.#ttlSeconds(request.validityDuration, delegation.maxTtlSeconds),
      entryId: null,
      delegationId: delegation.id,
      rights: [{ kind: 'delegation', id: delegation.id }],
      keyTypes: delegation.keyTypes,
      reason: {
        method: 'istio',
        delegation: delegation.id,
        issuer: token.issuer,
        cluster,
        account: `${namespace}/${serviceAccount}`,
        ...(pod === undefined ? {} : { pod: pod.name, podUid: pod.uid }),
      },
    };
  }

  /** The entry that gave the machine its certificate. */
  async #grantOfMachine(
    { certificate, entry, rights }: MachineCaller,
    request: IstioCertificateRequest__Output,
  ): Promise<Granted> {
    const { settings } = this.#dependencies;
    const longest = entry.x509TtlSeconds || settings.defaultX509TtlSeconds;
    return {
      profile: 'short-lived',
      ttlSeconds: this.#ttlSeconds(request.validityDuration, longest),
      entryId: entry.id,
      delegationId: null,
      rights,
      reason: { method: 'istio', entry: entry.id, certificate: certificate.serial },
    };
  }

  /** Istio's clients ask for a day and take less: what is asked for is brought into the limits. */
  #ttlSeconds(asked: number, longest: number): number {
    const { minimumTtlSeconds, maximumX509TtlSeconds } = this.#dependencies.settings;
    const maximum = Math.min(longest, maximumX509TtlSeconds, shortLivedMaximumSeconds);
    return ttlClamped(asked, minimumTtlSeconds, maximum);
  }

  /** The clients take each text but the last as one certificate, and the last one as the roots. */
  #answer({ chainDer }: IssuedLeaf): IstioCertificateResponse {
    const roots = this.#dependencies.authorities.rootsDer();
    return {
      certChain: [...chainDer.map((der) => certificatesToPem([der])), certificatesToPem(roots)],
    };
  }
}

function readCsr(pem: string): ReadCsr {
  if (pem === '') throw new PkiError('CSR_MALFORMED', 'the request has no CSR');
  const csrDer = unwrap(csrFromPem(pem));
  const { keyType, spkiDer } = unwrap(parseCsr(csrDer));
  return { csrDer, keyType, publicKeySha256: sha256Hex(spkiDer) };
}

const ungranted = (error: PkiError, identity: SpiffeId, clientId: string): PkiError =>
  error.code !== 'OUTSIDE_DELEGATION'
    ? error
    : new PkiError(
        'OUTSIDE_DELEGATION',
        `${identity.toString()} is in no active delegation of ${clientId}`,
        {
          next:
            `An administrator can grant it: meshca delegation create --client-id ${clientId} ` +
            `--pattern ${identity.toString()} --max-ttl 24h`,
        },
      );
