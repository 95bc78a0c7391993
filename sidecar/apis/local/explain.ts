import { PkiError } from '../../../src/common/errors/index.ts';
import { selectorText, type Selector } from '../../../src/common/spiffe/index.ts';
import type { ExplainRequest__Output } from '../../../src/common/wire/generated/meshca/agent/v1/ExplainRequest.ts';
import type { Explanation } from '../../../src/common/wire/generated/meshca/agent/v1/Explanation.ts';
import type { Attestor } from '../../attest/index.ts';
import type { RefusalLog } from '../../local-server/index.ts';
import { namesOf, type EntryCache, type Identity } from '../../ports/entries.ts';
import type { FileTargets } from '../../ports/file-targets.ts';
import type { Standing } from '../../ports/svids.ts';
import type { Clock } from '../../../src/common/runtime/index.ts';
import { targetSelector } from '../../ports/file-targets.ts';
import { foreignTrustOf, type ForeignTrustDependencies } from './foreign-trust.ts';
import { findTarget, targetToWire } from './targets.ts';

const nearMissLimit = 10;

export interface ExplainDependencies extends ForeignTrustDependencies {
  readonly attestor: Attestor;
  readonly entries: EntryCache;
  readonly refusals: RefusalLog;
  readonly standing: (identity: Identity) => Standing;
  /** The names under which a proxy with these identities gets secrets. */
  readonly secretNames: (identities: readonly Identity[]) => readonly string[];
  readonly targets: Pick<FileTargets, 'list'>;
  readonly clock: Clock;
}

/** Why a process, a refused call or a file target has an identity or none. */
export async function explain(
  dependencies: ExplainDependencies,
  { target, refusalId, pid, targetName }: ExplainRequest__Output,
): Promise<Explanation> {
  if (target === 'refusalId') return explainRefusal(dependencies, refusalId ?? '');
  if (target === 'targetName') return explainTarget(dependencies, targetName ?? '');
  if (target !== 'pid' || pid === undefined || pid <= 0)
    throw new PkiError('INVALID_REQUEST', 'name a process ID, a refusal ID or a file target');
  try {
    return await explainProcess(dependencies, pid);
  } catch (thrown) {
    const { code, message } = PkiError.from(thrown);
    if (code !== 'PEER_UNVERIFIABLE') throw thrown;
    return { pid, granted: false, code, message, time: dependencies.clock.now() };
  }
}

function explainRefusal(dependencies: ExplainDependencies, id: string): Explanation {
  const refusal = dependencies.refusals.get(id);
  if (refusal === undefined)
    throw new PkiError(
      'NOT_FOUND',
      'there is no recent refusal with this ID; the agent keeps the last ones of each user until it restarts',
      { next: 'Explain the process itself: meshca explain --pid N.' },
    );
  const { selectors } = refusal;
  return {
    ...verdict(dependencies, selectors),
    // the call was refused, whatever its process would get now
    granted: false,
    grantedSpiffeIds: served(dependencies, selectors, undefined).grantedSpiffeIds ?? [],
    pid: refusal.pid,
    refusalId: refusal.id,
    code: refusal.code,
    message: refusal.message,
    time: refusal.time,
  };
}

/** Nobody calls for a target: the agent presents the selector of its name. */
function explainTarget(dependencies: ExplainDependencies, name: string): Explanation {
  const { entries, targets, clock } = dependencies;
  const status = findTarget(targets, name);
  const identities = entries.ofTarget(status.name);
  const answer = verdict(dependencies, [targetSelector(status.name)], identities);
  const entry = identities.find((each) => each.spiffeId.toString() === status.spiffeId);
  const names = namesOf((entry ?? identities[0])?.entry);
  const refused = entries.synced() ? 'NO_IDENTITY' : 'NOT_SYNCED';
  return {
    ...answer,
    // of several identities a target has one
    ...(names !== undefined
      ? { grantedSpiffeIds: [] }
      : status.spiffeId === ''
        ? {}
        : { grantedSpiffeIds: [status.spiffeId] }),
    code: answer.granted ? '' : refused,
    time: clock.now(),
    fileTarget: {
      ...targetToWire(status),
      ...(names === undefined ? {} : { names: [...names.dnsNames, ...names.ips] }),
    },
  };
}

async function explainProcess(
  dependencies: ExplainDependencies,
  pid: number,
): Promise<Explanation> {
  const { attestor, entries, clock } = dependencies;
  using peer = attestor.open(pid);
  // an operator wants to see all facts, asked for by an entry or not
  const { selectors, problem } = await attestor.attest(
    peer,
    (_selectors, prefixes) => new Set(prefixes),
  );
  const answer = verdict(dependencies, selectors);
  const about = { pid, time: clock.now() };
  if (!answer.granted)
    return {
      ...answer,
      ...about,
      message: problem ?? '',
      code: entries.synced() ? 'NO_IDENTITY' : 'NOT_SYNCED',
    };
  return {
    ...answer,
    ...about,
    secretNames: [...dependencies.secretNames(entries.match(selectors))],
    ...served(dependencies, selectors, problem),
  };
}

/** Of the identities that the entries give, those that the process gets, and why not the others. */
function served(
  { entries, standing }: ExplainDependencies,
  selectors: readonly Selector[],
  problem: string | undefined,
): Pick<Explanation, 'granted' | 'grantedSpiffeIds' | 'code' | 'message' | 'refusalId'> {
  const all = entries.match(selectors).map((identity) => ({
    spiffeId: identity.spiffeId.toString(),
    standing: standing(identity),
  }));
  const refused = all.flatMap((each) =>
    each.standing.kind === 'refused'
      ? [{ spiffeId: each.spiffeId, error: each.standing.error }]
      : [],
  );
  const message = [
    ...(problem === undefined ? [] : [problem]),
    ...refused.map(({ spiffeId, error }) => `${spiffeId}: ${error.code}: ${error.message}`),
  ].join('; ');
  const gets = all.filter((each) => each.standing.kind !== 'refused');
  const grantedSpiffeIds = gets.map(({ spiffeId }) => spiffeId);
  const [first] = refused;
  if (gets.length > 0 || first === undefined)
    return { granted: true, grantedSpiffeIds, code: '', message };
  const { code, detail } = first.error;
  const refusalId = detail['refusalId'];
  return {
    granted: false,
    grantedSpiffeIds,
    code,
    message,
    ...(typeof refusalId === 'string' ? { refusalId } : {}),
  };
}

function verdict(
  dependencies: ExplainDependencies,
  selectors: readonly Selector[],
  identities: readonly Identity[] = dependencies.entries.match(selectors),
): Explanation & { readonly granted: boolean } {
  return {
    selectors: selectors.map(selectorText),
    granted: identities.length > 0,
    grantedSpiffeIds: identities.map((each) => each.spiffeId.toString()),
    foreignTrust: [...foreignTrustOf(dependencies, identities)],
    nearMisses: dependencies.entries.nearMisses(selectors, nearMissLimit).map((each) => ({
      entryId: each.entry.id,
      spiffeId: each.entry.spiffeId,
      matched: [...each.matched],
      missed: [...each.missed],
    })),
  };
}
