import { Operations } from '../api/index.ts';
import { PkiError } from '../common/errors/index.ts';
import {
  createServices,
  InventoryProof,
  type RunningServices,
  type ServerFacts,
  type ServedControlPlane,
  warnOfReservedNames,
  warnOfRevocable,
} from '../services/index.ts';
import { AcmeMacKey } from '../services/acme/mac-key.ts';
import type { TokenMac } from '../hsm/index.ts';
import { tokenVerifier, type TokenVerifier } from '../services/tokens/index.ts';
import { restoreFacts } from './accepted-loss.ts';
import type { AuthorityStage } from './authorities.ts';
import { openControlPlanes } from './control-planes.ts';
import { clockReason } from './clock-reason.ts';
import type { ServerContext } from './context.ts';
import type { IssuingStage } from './issuing.ts';
import type { LateEdges } from './late-edges.ts';
import { agentCheckpoints } from './log.ts';
import { nodeAttestors, readPem, serviceSettings } from './settings.ts';
import type { RecordStage } from './store-and-log.ts';
import type { TokenStage } from './tokens.ts';

/** The fifth stage: the services, which decide on rights. */
export interface ServiceStage extends AsyncDisposable {
  readonly services: RunningServices;
  readonly operations: Operations;
  readonly controlPlanes: readonly ServedControlPlane[];
  /** Judges tokens that others issued. */
  readonly verifier: TokenVerifier;
  /** Made in the issuing token at its first use. */
  readonly acmeMac: TokenMac;
  readonly inventory: Inventory;
}

type Inventory = Parameters<typeof createServices>[0]['inventory'];

interface Below {
  readonly context: ServerContext;
  readonly tokens: TokenStage;
  readonly records: RecordStage;
  readonly authorities: AuthorityStage;
  readonly issuing: IssuingStage;
}

export async function openServices(below: Below, late: LateEdges): Promise<ServiceStage> {
  const { context, tokens, records, authorities, issuing } = below;
  const { config, readiness, clock, random, logger } = context;
  const { gate } = tokens;
  await using stack = new AsyncDisposableStack();
  const verifier = tokenVerifier(config.tokens, { clock, logger, readFile: readPem });
  const acmeMac = acmeMacKey(below);
  const inventory = inventoryProof(below);
  const services = createServices({
    acmeMac,
    store: records.store,
    issuer: issuing.issuer,
    recorded: records.recorded,
    ...deciders(records),
    authorities: authorities.registry,
    clock,
    random,
    logger,
    logFacts: records.log,
    inventory,
    restoreFacts: restoreFacts(config, records.log, gate),
    checkpoints: agentCheckpoints(records.log, logger),
    sources: authorities.sources,
    downstream: authorities.signDownstream,
    held: () => !gate.isOpen,
    clockBelieved: () => authorities.rotation.guard.standing() === 'believed',
    untrusted: () => gate.refusal(),
    cross: authorities.crossSign,
    crossInChains: config.rotation.crossCertificates,
    onDouble: (how) => context.metrics.doubled(how),
    onExchanged: (by, result) => context.metrics.acme.exchanged(by, result),
    onPolled: (trustDomain, outcome) => context.metrics.federation.polled(trustDomain, outcome),
    agentBundle: authorities.agentBundle,
    handshakes: authorities.handshakes,
    rotation: authorities.rotation,
    crls: authorities.crls,
    settings: serviceSettings(config, context.uid),
    verifier,
    attestors: nodeAttestors(config, { clock, tokens: records.store.tokens, verifier }),
    facts: serverFacts(below),
  });
  stack.defer(() => services.close());
  const tolerance = config.rotation.clockToleranceSeconds;
  readiness.add(() => clockReason(authorities.rotation.guard, services.sync, tolerance));
  late.fill({ isConnected: (id) => services.isConnected(id) });
  // agents return to a new epoch; those that the acceptance has banned again stay out
  gate.onReopen(() => services.sync.restartAll());
  await services.gate.recover();
  await warnOfEntries(below);
  const controlPlanes = openControlPlanes(below, services, verifier);
  const operations = new Operations(services, clock, () => gate.refusal());
  services.gate.connect((method, request, caller) => operations.execute(method, request, caller));
  const owned = stack.move();
  return {
    ...{ services, operations, verifier, acmeMac, inventory, controlPlanes },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const inventoryProof = ({ context: { faults, clock }, records }: Below): Inventory =>
  faults.withoutLog
    ? unproven
    : new InventoryProof({ ...records.store, facts: records.log, clock });

/** What decides before anything is issued. */
const deciders = ({ policyInForce, issuancePolicy, tenantOwners }: RecordStage) => ({
  policyInForce,
  issuancePolicy,
  tenantOwners,
});

const acmeMacKey = ({ context, tokens, records }: Below): AcmeMacKey =>
  new AcmeMacKey({
    trustDomain: context.trustDomain.name,
    store: records.store,
    openToken: tokens.gate.openToken,
    signers: tokens.gate.signers,
    clock: context.clock,
    random: context.random,
    logger: context.logger.child({ part: 'acme' }),
  });

function serverFacts({ context, tokens, records, authorities, issuing }: Below): ServerFacts {
  const { readiness, clock } = context;
  const startedAt = clock.now();
  return {
    startedAt: () => startedAt,
    readiness: () => ({ ready: readiness.ready, reasons: readiness.reasons() }),
    hsmStatus: () => tokens.gate.signers.state().status,
    serverCertificateNotAfter: () => issuing.certificate.notAfter(),
    sinceStart: () => records.log.sinceStart,
    serverRootDer: () => issuing.certificate.rootDer(),
    ocsp: () => authorities.ocsp?.standing(),
  };
}

/** Names what the registration has from before, and what this configuration does not serve. */
async function warnOfEntries({ context, records }: Below): Promise<void> {
  const { config, logger, uid } = context;
  const { reservedDnsNames } = serviceSettings(config, uid);
  await warnOfReservedNames(records.store, reservedDnsNames, logger);
  if (config.issuance.crlBaseUrl === undefined)
    await warnOfRevocable(records.store.entries, logger);
}

/** For the measurement without a log: there are no proofs, so that each row counts. */
const unproven: Inventory = {
  require: () => Promise.resolve(),
  requireUnreleased: () => Promise.resolve(),
  refuse: ({ serial }) => {
    throw new PkiError('INTERNAL', `without a log nothing is known of certificate ${serial}`);
  },
  missing: () => Promise.resolve(),
  altered: () => {},
  downstream: () => Promise.resolve(undefined),
};
