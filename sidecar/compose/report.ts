import { PkiError } from '../../src/common/errors/index.ts';
import type { Clock } from '../../src/common/runtime/index.ts';
import type { AgentStatus } from '../../src/common/wire/generated/meshca/agent/v1/AgentStatus.ts';
import type { AgentConfig } from '../config.ts';
import type { AgentGauges } from '../metrics.ts';
import type { Identity } from '../ports/entries.ts';
import type { FileTargets } from '../ports/file-targets.ts';
import type { Standing } from '../ports/svids.ts';
import { noticedSkewSeconds, type IssuerSession } from '../sync/index.ts';
import type { ConsumersStage } from './consumers.ts';
import type { EntriesStage } from './entries.ts';
import type { SvidsStage } from './svids.ts';
import type { TrustStage } from './trust.ts';

export interface ReportDependencies {
  readonly config: AgentConfig;
  readonly version: string;
  readonly clock: Clock;
  readonly trust: TrustStage;
  readonly entries: EntriesStage;
  readonly held: ConsumersStage;
  readonly svids: SvidsStage;
  readonly session: IssuerSession;
  readonly targets: FileTargets;
  readonly outageSeconds: () => number;
}

export interface Readiness {
  /** Why no workload can be served; empty when it can. */
  readonly reasons: readonly string[];
  /** What an operator should know, though workloads are served. */
  readonly notes: readonly string[];
}

export function readinessOf(dependencies: ReportDependencies): Readiness {
  const { config, trust, entries, held: consumers, svids, session, outageSeconds } = dependencies;
  const { connected, lastError, barred, clockSkewSeconds } = session.status();
  const reasons: string[] = [];
  const notes: string[] = [];
  const { held, unserved } = svids.x509.horizon();
  const because = lastError === undefined ? '' : `: ${lastError.message} (${lastError.code})`;
  if (trust.bundles.current() === undefined || trust.identity.credential === undefined)
    reasons.push(`the node is not attested yet${because}`);
  else if (!entries.cache.synced())
    reasons.push(`the entries have not been received yet${because}`);
  else if (held === 0 && !trust.identity.valid())
    reasons.push(`the SVID of this agent itself has ended, and no other is held${because}`);
  else if (entries.cache.size() > 0 && held === 0 && !connected)
    reasons.push(`no SVID is held, and the server is away${because}`);
  else if (held === 0 && unserved > 0)
    reasons.push(`no SVID is held, and the server gives none of the ${unserved} that are in use`);
  if (barred !== undefined)
    reasons.push(`the server gives this agent nothing new: ${barred.message} (${barred.code})`);
  if (reasons.length === 0 && !trust.identity.valid())
    notes.push(`the SVID of this agent itself has ended; what is valid is served${because}`);
  else if (!connected && reasons.length === 0)
    notes.push(`not connected to the server${because}; what is valid is served`);
  const unkept = trust.writes.unkept();
  const [first] = unkept;
  if (first !== undefined)
    notes.push(
      `not kept on disk: ${unkept.map(({ file }) => file).join(', ')}; a restart goes back ` +
        `behind it: ${first.error.message} (${first.error.code})`,
    );
  if (Math.abs(clockSkewSeconds) > noticedSkewSeconds)
    notes.push(
      `the clock of this node is ${Math.abs(clockSkewSeconds)} s ` +
        `${clockSkewSeconds > 0 ? 'ahead of' : 'behind'} the clock of the server: compare ` +
        'both (date -u on each), and set the wrong one right; workloads here judge the ' +
        'certificates of others by the clock of this node',
    );
  const unproven = trust.issuers.note();
  if (unproven !== undefined) notes.push(unproven);
  const withoutCrls = consumers.withoutCrls.note();
  if (withoutCrls !== undefined) notes.push(withoutCrls);
  notes.push(...targetNotes(dependencies.targets));
  const refused = trust.bundles.refused();
  if (refused !== undefined)
    notes.push(
      `the bundle ${refused.sequence} of the server is refused, and ${refused.heldSequence} stays in ` +
        `force: ${refused.error.message} (${refused.error.code}). ${refused.error.next}`,
    );
  for (const [name, problem] of trust.bundles.federatedProblems())
    notes.push(`the newest bundle of the foreign trust domain ${name} is not taken: ${problem}`);
  const promised = config.outage.promisedSeconds;
  if (promised !== undefined && outageSeconds() < promised)
    notes.push(
      `an outage of ${promised} s is promised, but SVIDs in use survive only ${outageSeconds()} s`,
    );
  return { reasons, notes };
}

/** A server that reads files is no reason to take workloads their identities. */
const targetNotes = (targets: FileTargets): readonly string[] =>
  targets
    .list()
    .flatMap(({ name, state, reason }) =>
      reason === '' ? [] : [`the file target ${name} is ${state}: ${reason}`],
    );

/** What is held is served whatever the server says; for what is not held its word decides. */
export function standingOf({ svids, session }: ReportDependencies, identity: Identity): Standing {
  const standing = svids.x509.standing(identity);
  if (standing.kind !== 'not held') return standing;
  const { connected, barred, lastError } = session.status();
  if (barred !== undefined) return { kind: 'refused', error: barred };
  return connected
    ? standing
    : {
        kind: 'refused',
        error: lastError ?? new PkiError('UNREACHABLE', 'there is no connection to the server'),
      };
}

export function statusOf(dependencies: ReportDependencies): AgentStatus {
  const { config, version, clock, trust, entries, svids, session, outageSeconds } = dependencies;
  const { identity, bundles, trustDomain } = trust;
  const { credential } = identity;
  const { connected, lastError } = session.status();
  const { reasons, notes } = readinessOf(dependencies);
  const renewInMs = identity.renewAtMonotonicMs - clock.monotonicMs();
  return {
    spiffeId: identity.spiffeId?.toString() ?? '',
    trustDomain: trustDomain.name,
    version,
    connected,
    synced: entries.cache.synced(),
    ready: reasons.length === 0,
    reasons: [...reasons, ...notes],
    svidNotAfter: credential?.notAfter ?? 0,
    svidRenewAt: credential === undefined ? 0 : clock.now() + Math.round(renewInMs / 1000),
    entries: entries.cache.size(),
    survivedOutageSeconds: outageSeconds(),
    bundleSequence: bundles.current()?.sequence ?? 0,
    serverAddress: config.serverAddress,
    lastError: lastError === undefined ? '' : `${lastError.code}: ${lastError.message}`,
    svids: svids.x509.held().map(({ svid, renewAt, consumers }) => ({
      spiffeId: svid.identity.spiffeId.toString(),
      entryId: svid.identity.entry.id,
      serial: svid.serial,
      notAfter: svid.notAfter,
      renewAt,
      consumers,
      hint: svid.identity.entry.hint,
    })),
  };
}

export function gaugesOf(dependencies: ReportDependencies): AgentGauges {
  const { clock, trust, entries, held, svids, session, targets, outageSeconds } = dependencies;
  const { identity, bundles } = trust;
  return {
    connected: () => session.connected(),
    svids: () => svids.x509.horizon(),
    entries: () => entries.cache.size(),
    consumers: () => held.consumers.size,
    streamsWithoutCrls: () => held.withoutCrls.size,
    agentSvidExpirySeconds: () =>
      identity.credential === undefined ? undefined : identity.credential.notAfter - clock.now(),
    survivedOutageSeconds: outageSeconds,
    bundleSequence: () => bundles.current()?.sequence ?? 0,
    bundleRefused: () => bundles.refused() !== undefined,
    unkeptFiles: () => trust.writes.unkept().length,
    targets: () =>
      targets.list().map(({ name, state, sets }) => {
        const served = sets.find(({ current }) => current);
        return { name, state, notBefore: served?.notBefore, notAfter: served?.notAfter };
      }),
    clockSkewSeconds: () => session.status().clockSkewSeconds,
    secondsSinceContact: () => {
      const { lastContactMonotonicMs: last } = session.status();
      return last === undefined ? undefined : (clock.monotonicMs() - last) / 1000;
    },
  };
}
