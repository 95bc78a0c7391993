import type { Clock } from '../common/runtime/index.ts';
import { adminSocketPath } from '../config/index.ts';
import {
  buildGrpcServer,
  Connections,
  startAdminListener,
  startTlsListener,
  type GrpcFront,
  type HttpFront,
  type Listening,
} from '../server/index.ts';
import { acmeDoor, type AcmeDoor } from './acme.ts';
import type { AuthorityStage } from './authorities.ts';
import type { ServerContext } from './context.ts';
import { openFederation } from './federation.ts';
import { FrontDoor, type FrontDoorDependencies } from './front-door.ts';
import { openHttp, openOperationsPort, portIdentities, type PortIdentities } from './http.ts';
import type { IssuingStage } from './issuing.ts';
import { watchServer } from './metrics.ts';
import type { ServiceStage } from './services.ts';
import type { RecordStage } from './store-and-log.ts';
import type { TokenStage } from './tokens.ts';

/** The last stage: all listeners. */
export interface DoorStage extends AsyncDisposable {
  /** 0 until the TLS port is open. */
  readonly port: () => number;
  readonly opsPort: number;
  readonly httpPorts: () => { readonly plain: number; readonly tls: number };
  readonly federationPorts: () => { readonly web: number; readonly spiffe: number };
  readonly adminSocketPath: string;
  readonly identities: PortIdentities;
  /** Updates health checks with the present readiness. */
  readonly showReadiness: () => void;
}

interface Below {
  readonly context: ServerContext;
  readonly tokens: TokenStage;
  readonly records: RecordStage;
  readonly authorities: AuthorityStage;
  readonly issuing: IssuingStage;
  readonly service: ServiceStage;
}

/** How long open calls may continue when the server stops. */
const graceMs = 3_000;

export async function openDoors(below: Below): Promise<DoorStage> {
  const { context, tokens, authorities, issuing, service } = below;
  const { config, readiness, clock, logger } = context;
  const { gate } = tokens;
  const { callers } = service.services;
  await using stack = new AsyncDisposableStack();
  const connections = new Connections(callers, clock);
  watchServer(below, connections);
  const front = await createFront(below, connections);
  stack.defer(() => front.server.forceShutdown());
  const showReadiness = (): void => front.setServing(readiness.ready);
  stack.defer(() => front.setServing(false));
  stack.defer(eachSecond(clock, showReadiness));
  for (const source of [gate.signers, authorities.registry, gate])
    stack.defer(source.onChange(showReadiness));

  const identities = portIdentities(config);
  const ops = await openOperationsPort(context, identities.operations);
  stack.defer(() => ops.close());
  const { http, acme } = stack.use(await openHttpAndAcme(below, identities));
  const federation = stack.use(await openFederation(context, authorities, identities.federation));
  const adminPath = adminSocketPath(config);
  const admin = await startAdminListener({
    grpcServer: front.server,
    connections,
    callers,
    logger,
    path: adminPath,
    mode: Number.parseInt(config.admin.socketMode, 8),
  });
  stack.defer(() => admin.close(graceMs));
  const door = frontDoor(below, {
    open: async () => {
      await http.openTls(issuing.certificate);
      await federation.open('spiffe', issuing.certificate);
      return listenTls(below, { front, connections });
    },
    opened: showReadiness,
  });
  stack.defer(() => door.close(graceMs));
  stack.defer(gate.signers.onChange(() => door.poke()));
  readiness.add(() => door.reason());
  await door.start();
  await gate.whenOpen(() => acme?.open());

  const owned = stack.move();
  return {
    port: () => door.port,
    opsPort: ops.port,
    httpPorts: () => ({ plain: http.plainPort, tls: http.tlsPort }),
    federationPorts: () => federation.ports(),
    adminSocketPath: adminPath,
    identities,
    showReadiness,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function openHttpAndAcme(
  below: Below,
  identities: PortIdentities,
): Promise<AsyncDisposable & { readonly http: HttpFront; readonly acme: AcmeDoor | undefined }> {
  await using stack = new AsyncDisposableStack();
  const acme = acmeDoor(below);
  if (acme !== undefined) stack.use(acme);
  const http = stack.use(
    await openHttp(below.context, below.authorities, {
      identity: identities.http,
      acme: acme?.plugin,
    }),
  );
  const owned = stack.move();
  return { http, acme, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/**
 * Runs `act` every second, because some reasons change with time only. Returns the function that
 * ends it.
 */
function eachSecond(clock: Clock, act: () => void): () => void {
  let cancel = (): void => {};
  const again = (): void => {
    cancel = clock.after(1_000, () => {
      act();
      again();
    });
  };
  again();
  return () => cancel();
}

function frontDoor(
  { context, tokens, authorities, issuing }: Below,
  { open, opened }: Pick<FrontDoorDependencies, 'open' | 'opened'>,
): FrontDoor {
  return new FrontDoor({
    authorities: authorities.registry,
    logger: context.logger,
    clock: context.clock,
    certify: () => issuing.certify(),
    open,
    opened,
    gate: tokens.gate,
    advice: context.config.authorities.source,
    clockStanding: () => authorities.rotation.guard.standing(),
    failure: () => authorities.supply?.failure(),
  });
}

function createFront({ context, service }: Below, connections: Connections): Promise<GrpcFront> {
  const { config, clock, logger, metrics } = context;
  const { services, operations, controlPlanes } = service;
  return buildGrpcServer(
    {
      operations,
      services,
      controlPlanes,
      connections,
      callers: services.callers,
      refusals: services.refusals,
      clock,
      logger,
      limits: config.limits,
      observe: (method, code, seconds) => metrics.call(method, code, seconds),
    },
    config.limits,
  );
}

function listenTls(
  { context, authorities, issuing, service }: Below,
  { front, connections }: { readonly front: GrpcFront; readonly connections: Connections },
): Promise<Listening> {
  const { config, clock, logger, metrics } = context;
  return startTlsListener({
    grpcServer: front.server,
    connections,
    callers: service.services.callers,
    refusals: service.services.refusals,
    identity: issuing.certificate,
    fronts: issuing.fronts.map(({ type, dnsNames, anonymous, certificate }) => ({
      name: type,
      dnsNames,
      anonymous,
      identity: certificate,
    })),
    clock,
    onOldClient: (front) => metrics.oldClient(front),
    rootsDer: () => authorities.registry.rootsDer(),
    logger,
    options: {
      address: config.listen.address,
      port: config.listen.port,
      connections: config.limits.connections,
      handshakes: config.limits.handshakes,
      handshakeSeconds: config.limits.handshakeSeconds,
    },
  });
}
