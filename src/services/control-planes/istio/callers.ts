import { PkiError, unwrap } from '../../../common/errors/index.ts';
import { parseTemplate, SpiffeId } from '../../../common/spiffe/index.ts';
import { sha256Hex } from '../../../common/x509/index.ts';
import {
  allowedValues,
  podHolder,
  userSpiffeId,
  type Proven,
  type RegistrationEntry,
  type Requester,
  type Rights,
} from '../../../domain/index.ts';
import { holdingAgent } from '../../agents/standing-agent.ts';
import type { WorkloadCaller } from '../../callers/caller.ts';
import { callerRights } from '../../callers/caller-rights.ts';
import type { KubernetesIdentity, VerifiedToken } from '../../tokens/index.ts';
import type { ControlPlaneCall, ControlPlaneDependencies } from '../control-plane.ts';
import type { IstioConfiguration } from './configuration.ts';

interface Identified {
  readonly identity: SpiffeId;
  readonly requester: Requester;
  readonly holder: string;
  /** The subject of refusals. */
  readonly subject: string;
  /** SHA-256 of the token or certificate, hex. */
  readonly credentialSha256: string;
}

/** A process of a cluster, proved by the token of its service account. */
export interface PodCaller extends Identified {
  readonly kind: 'pod';
  readonly token: VerifiedToken;
  readonly kubernetes: KubernetesIdentity;
}

/** A virtual machine, proved by the certificate that an entry gave to it. */
export interface MachineCaller extends Identified {
  readonly kind: 'machine';
  readonly certificate: WorkloadCaller;
  readonly entry: Proven<RegistrationEntry>;
  readonly rights: Rights;
}

export type IstioCaller = PodCaller | MachineCaller;

/** Who calls CreateCertificate. */
export class IstioCallers {
  readonly #configuration: IstioConfiguration;
  readonly #dependencies: ControlPlaneDependencies;

  constructor(configuration: IstioConfiguration, dependencies: ControlPlaneDependencies) {
    this.#configuration = configuration;
    this.#dependencies = dependencies;
    for (const name of configuration.issuers)
      if (!dependencies.verifier.isIssuer(name))
        throw new PkiError(
          'CONFIG_INVALID',
          `controlPlanes.istio.issuers: ${name} is not in tokens.issuers`,
          { grade: 'fatal' },
        );
  }

  /**
   * A certificate of an entry counts before a token, as in istiod. One that a token brought does not
   * count: who stole it could otherwise renew it for ever.
   *
   * @throws PkiError with a status UNAUTHENTICATED, or that says to try again
   */
  async of(call: ControlPlaneCall): Promise<IstioCaller> {
    const { caller } = call;
    if (caller.class === 'workload') {
      const machine = await this.#machineOf(caller);
      if (machine !== undefined) return machine;
    }
    const token = bearerOf(call);
    if (token !== undefined) return this.#podOf(token, call);
    throw new PkiError(
      'UNAUTHENTICATED',
      caller.class === 'workload'
        ? `the certificate of ${caller.spiffeId} is not one that an entry gives, and the call has no token`
        : 'the call has neither a token (authorization: Bearer …) nor a client certificate',
      {
        next:
          'Mount a projected service account token for the audience of this server, or give ' +
          'the machine a certificate by an entry.',
      },
    );
  }

  async #machineOf(caller: WorkloadCaller): Promise<MachineCaller | undefined> {
    const { store, nodeSets, clock } = this.#dependencies;
    const { entryId, spiffeId, serial } = caller;
    if (caller.kind !== 'workload' || entryId === null) return undefined;
    const [row] = await store.entries.byIds([entryId]);
    if (row === undefined) {
      store.objects.announceAbsent('entry', entryId);
      return undefined;
    }
    const entry = store.objects.require('entry', row);
    const identity = SpiffeId.of(spiffeId);
    const hasEnded = entry.expiresAt !== 0 && entry.expiresAt <= clock.now();
    // the entry may have changed since it gave the certificate
    if (hasEnded || !gives(entry, identity)) return undefined;
    const agent = await holdingAgent(store, caller.holder);
    if (!(await nodeSets.parents(agent)).includes(entry.parentId)) return undefined;
    return {
      kind: 'machine',
      certificate: caller,
      entry,
      rights: [
        { kind: 'entry', id: entry.id, revision: entry.revision },
        { kind: 'agent', spiffeId: agent.spiffeId, generation: agent.generation },
        ...callerRights(caller),
      ],
      identity,
      requester: { class: 'workload', name: spiffeId },
      holder: spiffeId,
      subject: spiffeId,
      credentialSha256: sha256Hex(Buffer.from(serial)),
    };
  }

  async #podOf(text: string, call: ControlPlaneCall): Promise<PodCaller> {
    const { verifier, settings } = this.#dependencies;
    const { audiences, issuers, requireClusterId } = this.#configuration;
    const cluster = requireClusterId ? (call.header('clusterid') ?? '') : undefined;
    const demand = { purpose: 'istio', audiences, cluster, peer: call.peer } as const;
    const token = unwrap(await verifier.verify(text, demand, call.signal));
    const { kubernetes } = token;
    if (kubernetes === undefined || !issuers.includes(token.issuer))
      throw new PkiError(
        'TOKEN_ISSUER_UNKNOWN',
        `the issuer ${token.issuer} is not in controlPlanes.istio.issuers`,
      );
    const { namespace, serviceAccount } = kubernetes;
    const id = `${settings.trustDomain.id}/ns/${namespace}/sa/${serviceAccount}`;
    const name = `kubernetes:${kubernetes.cluster}/${namespace}/${serviceAccount}`;
    return {
      kind: 'pod',
      token,
      kubernetes,
      identity: unwrap(userSpiffeId(id, settings.trustDomain)),
      requester: { class: 'token', name },
      holder: kubernetes.pod === undefined ? name : podHolder(kubernetes.cluster, kubernetes.pod),
      subject: id,
      credentialSha256: sha256Hex(Buffer.from(text)),
    };
  }
}

const gives = (entry: RegistrationEntry, id: SpiffeId): boolean =>
  entry.isTemplate
    ? unwrap(parseTemplate(entry.spiffeId)).canProduce(id, allowedValues(entry.placeholders))
    : id.toString() === entry.spiffeId;

function bearerOf(call: ControlPlaneCall): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(call.header('authorization') ?? '')?.[1];
}
