import { readFileSync } from 'node:fs';
import { uptime } from 'node:os';
import { uuidv7, type Clock, type Logger, type Random } from '../common/runtime/index.ts';
import { TrustDomain } from '../common/spiffe/index.ts';
import { rotationPolicy, type ServerConfig } from '../config/index.ts';
import type { HandshakeFacts, RenewalFacts, TokenRole } from '../domain/index.ts';
import type { TokenAdmin } from '../hsm/index.ts';
import {
  ClockGuard,
  HeldSets,
  RotationController,
  type Boot,
  type MakerDependencies,
} from '../issuance/index.ts';
import type { Store } from '../store/index.ts';

export interface RotationParts {
  readonly config: ServerConfig;
  readonly store: Store;
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  readonly plans: MakerDependencies['plans'];
  readonly connected: (agentId: string) => boolean;
  readonly handshakes: (issuerKeyId: string) => HandshakeFacts;
  readonly renewals?: (authorityId: string) => RenewalFacts;
  readonly changed: () => Promise<void>;
  readonly moved: (kind: string, to: string) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Whether the issuing token answers; default yes. */
  readonly issuingTokenUsable?: () => boolean;
  readonly canUse?: (ckaId: string) => boolean;
  readonly boot?: Boot;
  readonly step?: (name: string) => void;
}

/** Rotation over the store; it begins to act with `controller.start()`. */
export async function buildRotation(parts: RotationParts): Promise<{
  readonly controller: RotationController;
  readonly guard: ClockGuard;
  readonly canUse?: (ckaId: string) => boolean;
}> {
  const { config, store, clock, random, logger } = parts;
  const guard = new ClockGuard({
    store: store.rotations,
    clock,
    boot: parts.boot ?? linuxBoot(),
    toleranceSeconds: config.rotation.clockToleranceSeconds,
  });
  await guard.start();
  const controller = new RotationController({
    store,
    guard,
    openToken: parts.openToken,
    trustDomain: TrustDomain.of(config.trustDomain),
    plans: parts.plans,
    clockSkewSeconds: config.authorities.clockSkewSeconds,
    connected: parts.connected,
    handshakes: parts.handshakes,
    sets: new HeldSets(store.bundles),
    policy: rotationPolicy(config),
    holder: uuidv7(clock.nowMs()),
    changed: parts.changed,
    ...(parts.renewals === undefined ? {} : { renewals: parts.renewals }),
    moved: parts.moved,
    ...(parts.issuingTokenUsable === undefined
      ? {}
      : { issuingTokenUsable: parts.issuingTokenUsable }),
    clock,
    random,
    logger,
    progress: (text) => logger.info({}, text),
    ...(parts.step === undefined ? {} : { step: parts.step }),
  });
  return { controller, guard, ...(parts.canUse === undefined ? {} : { canUse: parts.canUse }) };
}

/** CLOCK_BOOTTIME as /proc/uptime has it: goes on while the machine sleeps. */
function linuxBoot(): Boot {
  return {
    id: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    uptimeMs: () => uptime() * 1000,
  };
}
