import { PkiError } from '../../../src/common/errors/index.ts';
import { reportsContract, workloadContract } from '../../../src/common/wire/index.ts';
import type { ReportRequest__Output } from '../../../src/common/wire/generated/meshca/workload/v1/ReportRequest.ts';
import type { Session, SocketApi, StreamMethod, UnaryMethod } from '../../local-server/index.ts';
import { AudienceCharges } from './audiences.ts';
import { fetchJwtSvid, validateJwt } from './jwt.ts';
import { createMessages } from './messages.ts';
import type { WorkloadApiDependencies } from './options.ts';
import { Clients } from './reports.ts';
import { jwtBundleSource, X509SvidSource, x509BundleSource } from './sources.ts';

/**
 * The SPIFFE Workload API, and the reports of client libraries. SPIFFE Workload Endpoint section 3:
 * every request carries the metadata `workload.spiffe.io: true`.
 */
export function workloadApi(dependencies: WorkloadApiDependencies): SocketApi {
  return {
    name: 'workload',
    metadata: { kind: 'required', key: 'workload.spiffe.io', value: 'true' },
    callers: { kind: 'workloads' },
    services({ bundleGeneration }) {
      const clients = new Clients(dependencies.onHandshakes);
      const messages = createMessages(dependencies.bundles, bundleGeneration);
      const charges = new AudienceCharges(dependencies.clock, dependencies.limits);
      return [
        {
          definition: workloadContract().packages.SpiffeWorkloadAPI.service,
          methods: {
            FetchX509SVID: stream('roots', (handle) => {
              const leaveClients = clients.enter(handle);
              return new X509SvidSource(dependencies, messages, handle, leaveClients);
            }),
            FetchX509Bundles: stream('roots', (handle) =>
              x509BundleSource(dependencies, messages, handle),
            ),
            FetchJWTBundles: stream('jwt', () => jwtBundleSource(dependencies, messages)),
            FetchJWTSVID: unary(fetchJwtSvid(dependencies, charges)),
            ValidateJWTSVID: unary(validateJwt(dependencies)),
            FetchWITSVID: notOffered('FetchWITSVID'),
            FetchWITBundles: notOffered('FetchWITBundles'),
          },
        },
        {
          definition: reportsContract().packages.meshca.workload.v1.Reports.service,
          methods: {
            Report: unary((session: Session, request: ReportRequest__Output) =>
              clients.report(session, request),
            ),
          },
        },
      ];
    },
  };
}

const stream = (takes: 'roots' | 'jwt', open: StreamMethod['open']): StreamMethod => ({
  kind: 'stream',
  proof: 'kernel',
  readers: { consumer: 'workload-stream', takes },
  withoutIdentity: 'refused',
  open,
});

const unary = <Request>(
  run: (session: Session, request: Request) => Promise<unknown>,
): UnaryMethod => ({
  kind: 'unary',
  run: (session, request) => run(session, request as Request),
});

/**
 * Answers every caller alike, with or without an identity, so that a client learns not to retry.
 */
const notOffered = (rpc: string): StreamMethod =>
  stream('roots', () => {
    throw new PkiError('NOT_IMPLEMENTED', `this release does not offer ${rpc}`);
  });
