import { SpiffeId } from '../../src/common/spiffe/index.ts';
import { istioApi, istioApiLimits, SocketCertificate } from '../apis/istio/index.ts';
import { startLocalServer, type LocalServerOptions } from '../local-server/index.ts';
import type { AgentMetrics } from '../metrics.ts';
import type { AgentEnvironment } from './environment.ts';
import type { SvidsStage } from './svids.ts';

type SharedOptions = Pick<
  LocalServerOptions,
  'attestor' | 'kernel' | 'entries' | 'bundles' | 'consumers' | 'refusals' | 'clock'
>;

const drainMs = 1000;

/** The socket on which Istio's clients of this node create certificates, where it is configured. */
export async function openIstioSocket(
  { config, logger: parent, pid }: AgentEnvironment,
  { svids, metrics }: { readonly svids: SvidsStage; readonly metrics: AgentMetrics },
  shared: SharedOptions,
): Promise<AsyncDisposable> {
  await using started = new AsyncDisposableStack();
  const { enabled, socketPath, socketMode, spiffeId, dnsName } = config.istio;
  if (enabled && spiffeId !== undefined) {
    const logger = parent.child({ part: 'istio' });
    const socketId = SpiffeId.of(spiffeId);
    const tls = started.use(
      new SocketCertificate({
        ...shared,
        svids: svids.manager,
        spiffeId: socketId,
        dnsName: dnsName.toLowerCase(),
        pid,
        logger,
      }),
    );
    const served = await startLocalServer({
      ...shared,
      socket: { path: socketPath, mode: Number.parseInt(socketMode, 8) },
      tls,
      apis: [istioApi({ ...shared, csrs: svids.csrs, socketId })],
      logger,
      metrics: metrics.workloadApi,
      limits: istioApiLimits,
    });
    started.defer(() => served.drain(drainMs));
  }
  const open = started.move();
  return { [Symbol.asyncDispose]: () => open.disposeAsync() };
}
