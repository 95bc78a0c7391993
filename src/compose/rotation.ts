import { readFileSync } from 'node:fs';
import { uptime } from 'node:os';
import { uuidv7, type Clock, type Logger, type Random } from '../common/runtime/index.ts';
import { TrustDomain } from '../common/spiffe/index.ts';
import { rotationPolicy, type ServerConfig } from '../config/index.ts';
import type { NodeHandshakes, RenewalFacts, TokenRole } from '../domain/index.ts';
import type { TokenAdmin } from '../hsm/index.ts';
import {
  ClockGuard,
  HeldSets,
  RotationController,
  type Boot,
  type IssuancePolicy,
  type RecordedIssuance,
} from '../issuance/index.ts';
import type { HandshakeLedger, RenewalLedger } from '../services/index.ts';
import type { Ledger } from '../ledger/index.ts';
import type { ServerContext } from './context.ts';
import type { LateEdges } from './late-edges.ts';
import { authorityPlans, crlUrlOf } from './settings.ts';
import type { RecordStage } from './store-and-log.ts';
import type { TokenStage } from './tokens.ts';

export interface RotationDependencies {
  readonly config: ServerConfig;
  readonly store: Ledger;
  readonly recorded: RecordedIssuance;
  readonly issuancePolicy: IssuancePolicy;
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  readonly connected: (agentId: string) => boolean;
  readonly handshakes: (issuerKeyId: string) => readonly NodeHandshakes[];
  readonly renewals: (authorityId: string) => RenewalFacts;
  readonly changed: () => Promise<void>;
  readonly moved: (kind: string, to: string) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Whether the issuing token answers. */
  readonly issuingTokenUsable: () => boolean;
  /** Whether the key with this CKA_ID can be used. */
  readonly canUse: (ckaId: string) => boolean;
  readonly boot: Boot;
  /** Of the newest record in the log before this process wrote any; undefined: there was none. */
  readonly lastRecordedMs: number | undefined;
  readonly step: (name: string) => void;
}

export interface BuiltRotation {
  readonly controller: RotationController;
  readonly guard: ClockGuard;
  readonly canUse: (ckaId: string) => boolean;
}

/** Rotation over the store. It acts after `controller.start()`. */
export async function buildRotation(dependencies: RotationDependencies): Promise<BuiltRotation> {
  const { config, store, boot, canUse, ...controllerDependencies } = dependencies;
  const { clock, logger } = controllerDependencies;
  const guard = new ClockGuard({
    store: store.rotations,
    clock,
    boot,
    lastRecordedMs: dependencies.lastRecordedMs,
    toleranceSeconds: config.rotation.clockToleranceSeconds,
    rebootToleranceSeconds: config.rotation.rebootToleranceSeconds,
  });
  await guard.start();
  const controller = new RotationController({
    ...controllerDependencies,
    store,
    audit: store.audit,
    guard,
    trustDomain: TrustDomain.of(config.trustDomain),
    plans: authorityPlans(config),
    clockSkewSeconds: config.authorities.clockSkewSeconds,
    crlUrl: crlUrlOf(config),
    sets: new HeldSets(store.bundles),
    policy: rotationPolicy(config),
    holder: uuidv7(clock.nowMs()),
    progress: (text) => logger.info({}, text),
  });
  return { controller, guard, canUse };
}

/** The server's rotation, and the facts for its decisions. */
export function openRotation(
  { context, tokens, records }: Below,
  { late, handshakes, renewals, changed }: RotationFacts,
): Promise<BuiltRotation> {
  const { config, metrics, clock, random, logger, faults } = context;
  const { gate } = tokens;
  return buildRotation({
    config,
    store: records.store,
    recorded: records.recorded,
    issuancePolicy: records.issuancePolicy,
    openToken: gate.openToken,
    connected: (agentId) => late.edges.isConnected(agentId),
    handshakes: (keyId) => handshakes.nodes(keyId),
    renewals: (id) => renewals.compare(id),
    changed,
    moved: (kind, to) => metrics.authorityMoved(kind, to),
    canUse: (ckaId) => gate.signers.canUse(ckaId),
    issuingTokenUsable: () => tokens.issuingTokenUsable(),
    clock,
    random,
    logger: logger.child({ part: 'rotation' }),
    boot: context.boot,
    lastRecordedMs: records.lastRecordedMs,
    step: faults.step,
  });
}

interface Below {
  readonly context: ServerContext;
  readonly tokens: TokenStage;
  readonly records: RecordStage;
}

interface RotationFacts {
  readonly late: LateEdges;
  readonly handshakes: HandshakeLedger;
  readonly renewals: RenewalLedger;
  readonly changed: () => Promise<void>;
}

/** CLOCK_BOOTTIME from /proc/uptime: it continues while the machine sleeps. */
export function linuxBoot(): Boot {
  return { id: bootId(), uptimeMs: () => uptime() * 1000 };
}

/** Empty where /proc is not there: each start then counts as one of the machine. */
function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}
