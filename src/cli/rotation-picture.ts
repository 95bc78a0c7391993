import type { AuthorityProgress__Output } from '../common/wire/generated/meshca/admin/v1/AuthorityProgress.ts';
import type { Confirmation__Output } from '../common/wire/generated/meshca/admin/v1/Confirmation.ts';
import type { Laggard__Output } from '../common/wire/generated/meshca/admin/v1/Laggard.ts';
import type { RotationStatus__Output } from '../common/wire/generated/meshca/admin/v1/RotationStatus.ts';
import type { GlobalOptions } from './action.ts';
import type { CliContext } from './context.ts';
import { duration, instant, json, printable, until } from './output.ts';

export interface PictureOptions {
  readonly now: number;
  readonly columns: number;
  readonly color: boolean;
  /** Ended authorities too. */
  readonly all: boolean;
  readonly maximumLaggards: number;
}

const ended = ['retired', 'revoked', 'discarded', 'withdrawn'];
const barWidth = 12;

/**
 * The chain: who signs, who is trusted, how many live leaves each, who has confirmed, what happens
 * next and when.
 */
export function chainPicture(
  status: RotationStatus__Output,
  options: PictureOptions,
): readonly string[] {
  const lines: string[] = [];
  const shown = status.authorities.filter(
    ({ authority }) =>
      authority !== null &&
      authority.kind !== 'log' &&
      (options.all || !ended.includes(authority.state)),
  );
  const roots = shown.filter(({ authority }) => authority?.kind === 'root');
  const placed = new Set<AuthorityProgress__Output>();
  const place = (each: AuthorityProgress__Output, depth: number): void => {
    placed.add(each);
    lines.push(...authorityLines(each, depth, status, options));
    for (const child of shown)
      if (child.authority?.parentId === each.authority?.id && !placed.has(child))
        place(child, depth + 1);
  };
  for (const root of roots) place(root, 0);
  for (const each of shown) if (!placed.has(each)) place(each, 0);
  lines.push('', ...nextLines(status, options));
  return lines.map((line) =>
    line.length > options.columns && options.columns > 0
      ? `${line.slice(0, options.columns - 1)}…`
      : line,
  );
}

function authorityLines(
  each: AuthorityProgress__Output,
  depth: number,
  status: RotationStatus__Output,
  options: PictureOptions,
): readonly string[] {
  const { authority, confirmation } = each;
  if (authority === null) return [];
  const indent = depth === 0 ? '' : `${'   '.repeat(depth - 1)}└─ `;
  const role =
    authority.state === 'active'
      ? authority.scopeJson === '{}'
        ? 'signs'
        : `signs for ${scopeText(authority.scopeJson)}`
      : ['published', 'old', 'tainted'].includes(authority.state)
        ? 'trusted'
        : '';
  const live =
    authority.kind === 'jwt'
      ? ''
      : `, ${each.live} live${each.liveUnreported > 0 ? ` (${each.liveUnreported} can't report)` : ''}`;
  const lines = [
    `${indent}${`${authority.kind} `.padEnd(11 - Math.min(11, indent.length))}${shortId(authority.id)}  ${paint(authority.state.padEnd(9), authority.state, options)} ${role.padEnd(7)} ends ${until(authority.notAfter, options.now)}${live}`,
  ];
  const under = ' '.repeat(depth * 3 + 3);
  if (confirmation !== null)
    lines.push(...confirmationLines(confirmation, options).map((line) => `${under}${line}`));
  const expiry = status.notes.find(
    ({ code, authorityId }) => code === 'WAITING_EXPIRY' && authorityId === authority.id,
  );
  if (expiry !== undefined)
    lines.push(
      `${under}${authority.state === 'old' ? 'retires' : 'is revoked'} when its last leaf has expired: ${until(expiry.at, options.now)}`,
    );
  return lines;
}

export function confirmationLines(
  found: Confirmation__Output,
  options: PictureOptions,
): readonly string[] {
  const lines = [
    `proven     ${bar(found.provenConfirmed, found.provenNeeded)} ${found.provenConfirmed}/${found.provenNeeded}`,
  ];
  if (found.inferredNeeded > 0)
    lines.push(
      `inferred   ${bar(found.inferredConfirmed, found.inferredNeeded)} ${found.inferredConfirmed}/${found.inferredNeeded}${found.inferredUntil > 0 ? `, all by ${instant(found.inferredUntil)}` : ''}`,
    );
  if (found.unprovableUntil > options.now)
    lines.push(
      `unseen consumers: waiting until ${instant(found.unprovableUntil)} (${until(found.unprovableUntil, options.now)})`,
    );
  lines.push(
    ...found.laggards
      .slice(0, options.maximumLaggards)
      .map((each) => `waits for ${laggardText(each, options.now)}`),
  );
  const hidden = found.laggardsTotal - Math.min(found.laggards.length, options.maximumLaggards);
  if (hidden > 0) lines.push(`… and ${hidden} more`);
  return lines;
}

export function laggardText(each: Laggard__Output, now: number): string {
  const what =
    each.consumerId === ''
      ? 'the agent itself'
      : [each.spiffeId, each.description, each.kind].filter((text) => text !== '').join(' ');
  const holds =
    each.holds.length === 0
      ? 'holds nothing that is known'
      : `holds ${each.holds.map(shortId).join(', ')}`;
  return printable(
    `${nodeOf(each.agentId)}: ${what} – ${laggardState(each, now)}, ${holds}${leftOut(each, now)}`,
  );
}

/** `reason` of one that has left says what its state says. */
function laggardState(
  { state, reason, lastSeenAt, until: end }: Laggard__Output,
  now: number,
): string {
  if (state === 'departed') return `left with a certificate that ends ${until(end, now)}`;
  if (state === 'lost')
    return `not known to its agent any more, its certificate ends ${until(end, now)}`;
  const why = reason === '' ? '' : ` (${reason})`;
  if (state === 'silent') return 'has not said yet what it holds, its agent is connected';
  if (state !== 'absent') return `${state}${why}`;
  // what it said to a server that was restarted since counts when it says so again
  const seen =
    lastSeenAt === 0
      ? 'agent last seen: never'
      : `agent last seen: ${duration(Math.max(0, now - lastSeenAt))} ago, has not spoken since`;
  return `absent${why}, ${seen}`;
}

/** One whose agent is connected renews, so no instant can be told. */
const leftOut = ({ state, until: end }: Laggard__Output, now: number): string =>
  ['departed', 'lost', 'absent'].includes(state) ? `; left out ${until(end, now)}` : '';

/** `{"region":"eu"}` → `region eu` */
const scopeText = (json: string): string =>
  Object.entries(JSON.parse(json) as Record<string, unknown>)
    .map(([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(', ');

const texts: Readonly<Record<string, string>> = {
  WAITING_CONFIRMATION: 'activated when it is confirmed',
  WAITING_SCHEDULE: 'its successor is prepared',
  WAITING_IMPORT: 'waits for its certificate: meshca authority import',
  WAITING_OPERATOR: 'waits for you: meshca authority publish or activate',
  WAITING_CANARY: 'signs for more',
  CANARY_FAILING:
    'handshakes fail: it is not widened; mend the nodes, or meshca authority activate --disregard AGENT --reason TEXT',
  CANARY_NODES_FAILING: 'handshakes of some nodes fail, of too few to hold it',
  CANARY_RENEWALS: 'more of what is asked of it fails than elsewhere: it is not widened',
  CANARY_UNREPORTED: 'nobody reports handshakes',
  DEADLINE_NEAR: 'must sign soon',
  DEADLINE_PASSED: 'should sign by now: some have not confirmed',
  CLOCK_JUMPED: 'the wall clock jumped: set it right, or meshca authority accept-clock',
  CLOCK_BEHIND_LOG:
    'the wall clock is behind the audit log: set it right, or meshca authority accept-clock',
  CLOCK_UNPROVEN:
    'the machine was started again, and nothing proves the wall clock: meshca authority accept-clock, if it is right',
  ENDED: 'has ended and signs nothing: meshca authority rotate --kind KIND',
  AGENTS_ALTERED:
    'agents in the database are not as the log has them: nobody can tell who must confirm',
  NO_SUCCESSOR: 'nobody signs',
  STANDBY_READY: 'stands by in the standby token',
  STANDBY_WAITING: 'stands by when everybody has confirmed it',
  TOKEN_LOST:
    'the issuing token does not answer: meshca authority activate --standby, or it is done by itself',
};

function nextLines(status: RotationStatus__Output, options: PictureOptions): readonly string[] {
  const lines = status.notes
    .filter(({ code }) => texts[code] !== undefined)
    .map(({ code, authorityId, at, alert, agents }) => {
      const kind = status.authorities.find(({ authority }) => authority?.id === authorityId)
        ?.authority?.kind;
      const line = `${alert ? 'alert' : 'next '}: ${kind === undefined ? '' : `${kind} ${shortId(authorityId)} `}${(texts[code] as string).replace('KIND', kind ?? '')}${at > 0 ? `, ${until(at, options.now)}` : ''}${agents.length > 0 ? `: ${agents.map(printable).join(', ')}` : ''}`;
      return alert && options.color ? `\u001b[1;31m${line}\u001b[0m` : line;
    });
  lines.push(...crlLines(status, options));
  if (status.jumpedSeconds !== 0)
    lines.push(`alert: the wall clock is off by ${status.jumpedSeconds} s`);
  if (status.failure !== null)
    lines.push(
      `alert: rotation failed: ${status.failure.code}: ${printable(status.failure.message)}`,
    );
  return lines;
}

/** What stands in the way of a complete set of CRLs, by authority, and what brings it. */
function crlLines(
  { crls, crlsHandedOut, authorities }: RotationStatus__Output,
  { now, color }: PictureOptions,
): readonly string[] {
  const kindOf = (id: string): string =>
    authorities.find(({ authority }) => authority?.id === id)?.authority?.kind ?? 'authority';
  const lines = crls
    .filter(({ state }) => state !== 'current')
    .map(({ authorityId, source, state, nextUpdate }) => {
      const what =
        state === 'missing'
          ? 'has no CRL'
          : state === 'expired'
            ? `has a CRL that ended ${until(nextUpdate, now)}`
            : `has a CRL that ends ${until(nextUpdate, now)}`;
      const next =
        source === 'own'
          ? 'it is signed when its key can be used'
          : 'meshca authority import-crl FILE';
      // one that never was there breaks nothing that worked
      const alert = state !== 'missing';
      const line = `${alert ? 'alert' : 'next '}: ${kindOf(authorityId)} ${shortId(authorityId)} ${what}: ${next}`;
      return alert && color ? `\u001b[1;31m${line}\u001b[0m` : line;
    });
  for (const { authorityId, unlistedIds } of crls)
    if (unlistedIds.length > 0)
      lines.push(
        `alert: the CRL of ${kindOf(authorityId)} ${shortId(authorityId)} does not name ${unlistedIds.map(shortId).join(', ')}, revoked here: have it revoked there`,
      );
  if (crls.length > 0 && !crlsHandedOut)
    lines.push('no CRLs are handed out until each authority in use has one');
  return lines;
}

/** One line for logs and pipes: what changed is in it. */
export function summaryLine(
  status: RotationStatus__Output,
  successorId: string,
  now: number,
): string {
  const found = status.authorities.find(({ authority }) => authority?.id === successorId);
  if (found === undefined || found.authority === null)
    return `successor ${shortId(successorId)} is being made`;
  const { authority, confirmation } = found;
  const waits =
    confirmation === null
      ? ''
      : ` proven ${confirmation.provenConfirmed}/${confirmation.provenNeeded} inferred ${confirmation.inferredConfirmed}/${confirmation.inferredNeeded}${confirmation.unprovableUntil > now ? ` unseen-until ${instant(confirmation.unprovableUntil)}` : ''}`;
  const first = confirmation?.laggards[0];
  return `${authority.kind} ${shortId(authority.id)} ${authority.state}${waits}${first === undefined ? '' : `; waits for ${laggardText(first, now)}`}`;
}

export const shortId = (id: string): string => id.slice(-12);
const nodeOf = (agentId: string): string => agentId.split('/').at(-1) ?? agentId;

function bar(done: number, total: number): string {
  const filled = total === 0 ? barWidth : Math.floor((done / total) * barWidth);
  return `[${'█'.repeat(filled)}${'░'.repeat(barWidth - filled)}]`;
}

function paint(text: string, state: string, { color }: PictureOptions): string {
  if (!color) return text;
  const code =
    state === 'active'
      ? 32
      : state === 'tainted' || state === 'revoked'
        ? 31
        : state === 'published'
          ? 36
          : 0;
  return code === 0 ? text : `\u001b[${code}m${text}\u001b[0m`;
}

/** What is under way, or the whole status as JSON. */
export function showRotation(
  context: CliContext,
  options: GlobalOptions,
  status: RotationStatus__Output,
): void {
  if (options.json) {
    json(context, status);
    return;
  }
  for (const operation of status.operations)
    context.out(
      `under way: ${operation.kind} ${shortId(operation.successorId)} in the place of ${operation.targets.map(shortId).join(', ') || 'nobody'}${operation.forced ? ', forced' : ''}\n`,
    );
  if (status.operations.length === 0) context.out('nothing is under way\n');
}
