import { PkiError, unwrap } from '../../../src/common/errors/index.ts';
import { KeyedBuckets, type Clock } from '../../../src/common/runtime/index.ts';
import type { SpiffeId } from '../../../src/common/spiffe/index.ts';
import type { IstioCertificateRequest__Output } from '../../../src/common/wire/generated/istio/v1/auth/IstioCertificateRequest.ts';
import type { IstioCertificateResponse } from '../../../src/common/wire/generated/istio/v1/auth/IstioCertificateResponse.ts';
import { istioContract, refuseImpersonation } from '../../../src/common/wire/index.ts';
import { certificatesToPem, sha256Hex } from '../../../src/common/x509/index.ts';
import {
  defaultLimits,
  type Granted,
  type LocalServerLimits,
  type Session,
  type SocketApi,
} from '../../local-server/index.ts';
import type { BundleSource, TrustBundle } from '../../ports/bundles.ts';
import type { ConsumerRegistry } from '../../ports/consumers.ts';
import { identityKey, type Identity } from '../../ports/entries.ts';
import type { CsrSigner } from '../../ports/svids.ts';
import { readRequest } from './csr.ts';
import { Repeats } from './repeats.ts';

export interface IstioApiDependencies {
  readonly csrs: CsrSigner;
  readonly bundles: BundleSource;
  readonly consumers: ConsumerRegistry;
  /** The identity whose certificate the socket shows. No caller gets it here. */
  readonly socketId: SpiffeId;
  readonly clock: Clock;
}

export const istioApiLimits: LocalServerLimits = { ...defaultLimits, streamsPerConnection: 8 };

/** Of one user in one control group. Each call costs a signature and a record. */
const rate = { perSecond: 2, burst: 40 };

/**
 * Istio's CreateCertificate for the processes of this node. The kernel tells who calls, and entries
 * give the identity; a token in the call is not looked at. The private key stays with the caller.
 */
export function istioApi(dependencies: IstioApiDependencies): SocketApi {
  return {
    name: 'istio',
    metadata: { kind: 'none', reason: 'Istio sets none, and no web page dials a Unix socket' },
    callers: { kind: 'workloads' },
    services() {
      const service = new CreateCertificate(dependencies);
      return [
        {
          definition: istioContract().packages.istio.v1.auth.IstioCertificateService.service,
          methods: {
            CreateCertificate: {
              kind: 'unary',
              run: (session, request) =>
                service.create(session, request as IstioCertificateRequest__Output),
            },
          },
        },
      ];
    },
  };
}

/** Owner of the rates. */
class CreateCertificate {
  readonly #dependencies: IstioApiDependencies;
  readonly #buckets: KeyedBuckets;
  readonly #repeats: Repeats;

  constructor(dependencies: IstioApiDependencies) {
    this.#dependencies = dependencies;
    this.#buckets = new KeyedBuckets(rate, dependencies.clock);
    this.#repeats = new Repeats(dependencies.clock);
  }

  async create(
    session: Session,
    request: IstioCertificateRequest__Output,
  ): Promise<IstioCertificateResponse> {
    const granted = await session.grant();
    refuseImpersonation(request);
    const csr = readRequest(request.csr);
    const identity = this.#chosen(granted, csr.uris);
    const waitMs = this.#buckets.take(session.connection.holder);
    if (waitMs > 0)
      throw new PkiError('RATE_LIMITED', `too many certificates: try again in ${waitMs} ms`);
    const { selectors } = granted.attested;
    const key = `${holderOf(session)} ${identityKey(identity)} ${identity.entry.revision} ${sha256Hex(csr.csrDer)}`;
    const requestId = this.#repeats.requestIdOf(key);
    const ttlSeconds = Math.max(0, request.validityDuration);
    const signed = await this.#dependencies.csrs.certify(identity, selectors, {
      ...csr,
      requestId,
      ttlSeconds,
    });
    // a call whose answer was lost keeps its ID
    if (!signed.ok) this.#repeats.forget(key);
    const { chainDer, notAfter } = unwrap(signed);
    // signing took time: the process that asked must still be there
    session.verify();
    if (csr.uris.length === 0) session.gaveDefault(identity);
    const bundle = this.#bundle();
    this.#given(session, identity, { notAfter, bundle });
    // the clients take each text but the last as one certificate, and the last one as the roots
    return {
      certChain: [
        ...chainDer.map((der) => certificatesToPem([der])),
        certificatesToPem(bundle.rootsDer),
      ],
    };
  }

  /**
   * Of what entries give, the identity that the request names, else the default. A request that names
   * another one is refused by the server, on record.
   */
  #chosen({ identities }: Granted, uris: readonly string[]): Identity {
    const { socketId } = this.#dependencies;
    const own = identities.filter(({ spiffeId }) => !spiffeId.equals(socketId));
    const chosen = own.find(({ spiffeId }) => uris.includes(spiffeId.toString())) ?? own[0];
    if (chosen !== undefined) return chosen;
    throw new PkiError(
      'NO_IDENTITY',
      `the only entry that matches this process is that of the socket itself, ${socketId.toString()}`,
    );
  }

  #bundle(): TrustBundle {
    const bundle = this.#dependencies.bundles.current();
    if (bundle !== undefined) return bundle;
    throw new PkiError('STARTING_UP', 'the agent has no trust bundle yet');
  }

  /**
   * Nothing tells this holder of new roots before its next certificate. So it counts as one that left
   * with this certificate and with the roots in this answer: until that ends, or until the same
   * process gets its next one. That it took the roots is inferred.
   */
  #given(
    session: Session,
    { spiffeId }: Identity,
    { notAfter, bundle }: { readonly notAfter: number; readonly bundle: TrustBundle },
  ): void {
    const { connection, rpc } = session;
    const { pid, uid, peer } = connection;
    const program = peer?.image.program;
    const handle = this.#dependencies.consumers.register({
      kind: 'workload-stream',
      spiffeId: spiffeId.toString(),
      takes: 'roots',
      holder: holderOf(session),
      inferred: true,
      description: `${rpc} pid ${pid} uid ${uid}${program === undefined ? '' : ` ${program}`}`,
    });
    handle.given(notAfter);
    handle.confirmed(bundle.authoritySetDigest);
    handle.remove();
  }
}

/**
 * A process ID is given again, and the start tells its holders apart. What the process reads from the
 * Workload API settles nothing here.
 */
const holderOf = ({ connection: { pid, peer } }: Session): string =>
  `istio ${pid} ${peer?.image.startTime ?? ''}`;
