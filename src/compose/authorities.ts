import {
  AuthorityRegistry,
  AuthoritySources,
  BundleFloor,
  crossSign,
  publishBundle,
  signDownstream,
  UpstreamSupply,
  type CrlPublisher,
  type OcspPublisher,
  type ShardAllocator,
  type CrossRequest,
  type DownstreamAuthority,
  type DownstreamRequest,
  type UpstreamAuthority,
} from '../issuance/index.ts';
import type { Authority } from '../domain/index.ts';
import { HandshakeLedger, RenewalLedger } from '../services/index.ts';
import type { ServerContext } from './context.ts';
import type { LateEdges } from './late-edges.ts';
import { openRotation, type BuiltRotation } from './rotation.ts';
import { openCrls } from './crls.ts';
import { openOcsp } from './ocsp.ts';
import {
  crlUrlOf,
  issuingLifeSeconds,
  minimumAuthorityLifeSeconds,
  upstreamAuthority,
} from './settings.ts';
import { openStandbyLog } from './standby-log.ts';
import type { RecordStage } from './store-and-log.ts';
import type { TokenStage } from './tokens.ts';
import { errorFields } from '../common/runtime/index.ts';

/** The third stage: the authorities, their sources, their rotation and their CRLs. */
export interface AuthorityStage extends AsyncDisposable {
  readonly registry: AuthorityRegistry;
  readonly sources: AuthoritySources;
  /** Absent unless an upstream signs the intermediates. */
  readonly supply: UpstreamSupply | undefined;
  readonly signDownstream: (request: DownstreamRequest) => Promise<DownstreamAuthority>;
  readonly crossSign: (request: CrossRequest) => Promise<Authority>;
  readonly rotation: BuiltRotation;
  readonly crls: CrlPublisher;
  /** Undefined: no certificate names a responder. */
  readonly ocsp: OcspPublisher | undefined;
  /** Where revocable leaves get their shard. */
  readonly shards: ShardAllocator;
  /** Called with the sequence of the bundle that an agent holds. */
  readonly agentBundle: (sequence: number) => void;
  /** Handshakes that agents report. Rotation uses them. */
  readonly handshakes: HandshakeLedger;
  /** The outcomes of requests to each issuing authority. Rotation uses them. */
  readonly renewals: RenewalLedger;
}

/** The stages below this one. */
interface Below {
  readonly context: ServerContext;
  readonly tokens: TokenStage;
  readonly records: RecordStage;
}

/** Reads the authorities, publishes the bundle, and starts to obtain missing authorities. */
export async function openAuthorities(below: Below, late: LateEdges): Promise<AuthorityStage> {
  const { context, tokens, records } = below;
  const { gate } = tokens;
  await using stack = new AsyncDisposableStack();
  const registry = createRegistry(below);
  const reread = (): Promise<void> => rereadAuthorities(registry, context);
  const floor = bundleFloor(below);
  const changed = (): Promise<void> => publishChange({ registry, floor }, below);
  await changed();
  gate.onReopen(changed);
  stack.defer(records.store.onRevision(() => void reread()));

  const upstream = upstreamAuthority(context.config, tokens.vault, context.clock);
  const sources = createSources(below, { upstream, changed });
  await gate.whenOpen(() => sources.resumeFirst('server'));
  const supply =
    upstream === undefined
      ? undefined
      : new UpstreamSupply({
          ...context,
          sources,
          present: () => registry.issuing() !== undefined,
        });
  stack.defer(() => supply?.close());
  if (gate.isOpen) await supply?.supply();
  gate.onReopen(() => void supply?.supply());

  const handshakes = new HandshakeLedger(
    context.clock,
    context.config.rotation.canaryWindowSeconds,
  );
  const renewals = new RenewalLedger();
  const rotation = await openRotation(below, { late, handshakes, renewals, changed });
  stack.defer(() => rotation.controller.close());
  stack.defer(
    gate.signers.onChange(() => {
      // a token that is back has the keys that were missing
      void reread();
      rotation.controller.poke();
    }),
  );
  const ours = { ...below, registry, guard: rotation.guard, upstream, changed };
  const revocation = { ...(await openCrls(ours, stack)), ocsp: await openOcsp(ours, stack) };
  await openStandbyLog({ ...below, registry }, stack);

  const owned = stack.move();
  return {
    registry,
    sources,
    supply,
    ...rootSigning(below, registry),
    rotation,
    ...revocation,
    agentBundle: agentBundles({ registry, floor, guard: rotation.guard, changed }, context),
    handshakes,
    renewals,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function createRegistry({ context, tokens, records }: Below): AuthorityRegistry {
  const { config, clock, logger } = context;
  const { store, requestedKeys } = records;
  const registry = new AuthorityRegistry({
    place: config.authorities,
    crossCertificates: config.rotation.crossCertificates,
    names: config.names.enabled,
    // it compares the rows itself, and keeps what it knew in the place of an altered one
    authorities: { list: () => store.authorities.rows() },
    bundles: store.bundles,
    objects: store.objects,
    signers: tokens.gate.signers,
    clock,
    logger,
    requestedKeys,
  });
  tokens.gate.signers.follow(() => registry.issuing()?.token ?? 'issuing');
  return registry;
}

async function rereadAuthorities(
  registry: AuthorityRegistry,
  { logger }: ServerContext,
): Promise<void> {
  try {
    await registry.refresh();
  } catch (thrown) {
    logger.error({ ...errorFields(thrown) }, 'the authorities could not be read again');
  }
}

const bundleFloor = ({ context, records: { store } }: Below): BundleFloor =>
  new BundleFloor({
    objects: store.objects,
    clock: context.clock,
  });

/** An agent that holds a later bundle than this server gets one that it takes. */
function agentBundles(
  {
    registry,
    floor,
    guard,
    changed,
  }: {
    readonly registry: AuthorityRegistry;
    readonly floor: BundleFloor;
    readonly guard: BuiltRotation['guard'];
    readonly changed: () => Promise<void>;
  },
  { logger }: ServerContext,
): AuthorityStage['agentBundle'] {
  return (sequence) => {
    if (guard.standing() !== 'believed' || !floor.met(sequence, registry.bundle().sequence)) return;
    logger.warn(
      { alert: true },
      'an agent holds a later bundle than this server; a new one is due',
    );
    changed().catch((thrown: unknown) =>
      logger.error({ ...errorFields(thrown) }, 'the bundle could not be published again'),
    );
  };
}

/**
 * Called after each transition: all readers refresh, and a new bundle is published if one is due.
 */
async function publishChange(
  { registry, floor }: { readonly registry: AuthorityRegistry; readonly floor: BundleFloor },
  { context, tokens, records }: Below,
): Promise<void> {
  await registry.refresh();
  if (!tokens.gate.isOpen) return;
  await publishBundle(registry.all(), {
    store: records.store.bundles,
    signers: tokens.gate.signers,
    clock: context.clock,
    refreshHintSeconds: context.config.issuance.bundleRefreshHintSeconds,
    floor,
    logger: context.logger,
  });
  await registry.refresh();
}

function createSources(
  { context, tokens, records }: Below,
  {
    upstream,
    changed,
  }: { readonly upstream: UpstreamAuthority | undefined; readonly changed: () => Promise<void> },
): AuthoritySources {
  const { config, trustDomain, clock, random, logger } = context;
  const { store, requestedKeys } = records;
  return new AuthoritySources({
    authorities: store.authorities,
    audit: store.audit,
    rotations: store.rotations,
    blockedKeys: store.blockedKeys,
    openIssuingToken: () => tokens.gate.openToken('issuing'),
    trustDomain,
    plan: { keyType: config.authorities.issuing.keyType, lifeSeconds: issuingLifeSeconds(config) },
    minimumLifeSeconds: minimumAuthorityLifeSeconds(config),
    clock,
    random,
    logger,
    changed,
    requestedKeys,
    ...(upstream === undefined ? {} : { upstream }),
  });
}

/** What a root signs on request: downstream CAs, and cross-certificates. */
function rootSigning(
  { context, tokens, records }: Below,
  registry: AuthorityRegistry,
): Pick<AuthorityStage, 'signDownstream' | 'crossSign'> {
  const { config, trustDomain, clock, random } = context;
  const shared = {
    recorded: records.recorded,
    issuancePolicy: records.issuancePolicy,
    issuance: records.store.issuance,
    openToken: tokens.gate.openToken,
    trustDomain,
    clockSkewSeconds: config.authorities.clockSkewSeconds,
    crlUrl: crlUrlOf(config),
    clock,
    random,
  };
  return {
    signDownstream: (request) =>
      signDownstream(request, {
        ...shared,
        authorities: { list: () => Promise.resolve(registry.all()) },
        isAuthorityKey: (digest) => registry.isAuthorityKey(digest),
      }),
    crossSign: (request) =>
      crossSign(request, { ...shared, authorities: records.store.authorities }),
  };
}
