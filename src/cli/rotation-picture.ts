import type { AuthorityProgress__Output } from '../common/wire/generated/meshca/admin/v1/AuthorityProgress.ts';
import type { Confirmation__Output } from '../common/wire/generated/meshca/admin/v1/Confirmation.ts';
import type { Laggard__Output } from '../common/wire/generated/meshca/admin/v1/Laggard.ts';
import type { RotationStatus__Output } from '../common/wire/generated/meshca/admin/v1/RotationStatus.ts';
import type { GlobalOptions } from './action.ts';
import type { CliContext } from './context.ts';
import { duration, instant, json, printable, until } from './output.ts';
import { wrapped } from './wrap.ts';

export interface PictureOptions {
  readonly now: number;
  /** Of the terminal; 0: there is none. */
  readonly columns: number;
  readonly color: boolean;
  /** Ended authorities too. */
  readonly all: boolean;
  readonly maximumLaggards: number;
}

const ended = ['retired', 'revoked', 'discarded', 'withdrawn'];
const barWidth = 12;

/**
 * The chain of authorities: which ones sign, which are trusted, how many live leaves they have, who
 * has confirmed, and what happens next.
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
      authority.kind !== 'ocsp' &&
      (options.all || !ended.includes(authority.state)),
  );
  const roots = ['root', 'names-root'].flatMap((kind) =>
    shown.filter(({ authority }) => authority?.kind === kind),
  );
  const placed = new Set<AuthorityProgress__Output>();
  const place = (progress: AuthorityProgress__Output, depth: number): void => {
    placed.add(progress);
    lines.push(...authorityLines(progress, depth, status, options));
    for (const child of shown)
      if (child.authority?.parentId === progress.authority?.id && !placed.has(child))
        place(child, depth + 1);
  };
  for (const root of roots) place(root, 0);
  for (const progress of shown) if (!placed.has(progress)) place(progress, 0);
  lines.push('', ...nextLines(status, options));
  // nothing is cut: the end of a line says what to do
  return lines.flatMap((line) => wrapped(line, options.columns));
}

function authorityLines(
  progress: AuthorityProgress__Output,
  depth: number,
  status: RotationStatus__Output,
  options: PictureOptions,
): readonly string[] {
  const { authority, confirmation } = progress;
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
      : `, ${progress.live} live${progress.liveUnreported > 0 ? ` (${progress.liveUnreported} can't report)` : ''}`;
  const lines = [
    `${indent}${`${authority.kind} `.padEnd(11 - Math.min(11, indent.length))}${shortId(authority.id)}  ` +
      `${paint(authority.state.padEnd(9), authority.state, options)} ${role.padEnd(7)} ` +
      `${authority.notAfter === 0 ? 'no certificate yet' : `ends ${until(authority.notAfter, options.now)}${live}`}`,
  ];
  const under = ' '.repeat(depth * 3 + 3);
  if (confirmation !== null)
    lines.push(
      ...(authority.kind.startsWith('names-')
        ? unprovableLines(confirmation, options)
        : confirmationLines(confirmation, options)
      ).map((line) => `${under}${line}`),
    );
  const expiry = status.notes.find(
    ({ code, authorityId }) => code === 'WAITING_EXPIRY' && authorityId === authority.id,
  );
  if (expiry !== undefined)
    lines.push(
      `${under}${authority.state === 'old' ? 'retires' : 'is revoked'} when its last leaf ` +
        `has expired: ${until(expiry.at, options.now)}`,
    );
  return lines;
}

/** Whoever relies on certificates for names never confirms. */
const unprovableLines = (
  { unprovableUntil }: Confirmation__Output,
  { now }: PictureOptions,
): readonly string[] =>
  unprovableUntil > now
    ? [
        `unprovable relying parties never confirm: it is published until ${instant(unprovableUntil)} ` +
          `(${until(unprovableUntil, now)}), then it signs`,
      ]
    : ['unprovable relying parties never confirm: it was published long enough'];

export function confirmationLines(
  confirmation: Confirmation__Output,
  options: PictureOptions,
): readonly string[] {
  const lines = [
    `proven     ${bar(confirmation.provenConfirmed, confirmation.provenNeeded)} ` +
      `${confirmation.provenConfirmed}/${confirmation.provenNeeded}`,
  ];
  if (confirmation.inferredNeeded > 0)
    lines.push(
      `inferred   ${bar(confirmation.inferredConfirmed, confirmation.inferredNeeded)} ` +
        `${confirmation.inferredConfirmed}/${confirmation.inferredNeeded}` +
        (confirmation.inferredUntil > 0 ? `, all by ${instant(confirmation.inferredUntil)}` : ''),
    );
  if (confirmation.unprovableUntil > options.now)
    lines.push(
      `unseen consumers: waiting until ${instant(confirmation.unprovableUntil)} ` +
        `(${until(confirmation.unprovableUntil, options.now)})`,
    );
  lines.push(
    ...confirmation.laggards
      .slice(0, options.maximumLaggards)
      .map((laggard) => `waits for ${laggardText(laggard, options.now)}`),
  );
  const hidden =
    confirmation.laggardsTotal - Math.min(confirmation.laggards.length, options.maximumLaggards);
  if (hidden > 0) lines.push(`… and ${hidden} more`);
  return [...lines, ...inferredLines(confirmation, options)];
}

/** Who can't report, and is waited for until its certificates end. */
function inferredLines(
  { inferredHolders }: Confirmation__Output,
  { now, maximumLaggards }: PictureOptions,
): readonly string[] {
  const lines = inferredHolders
    .slice(0, maximumLaggards)
    .map(({ holder, until: end }) =>
      printable(
        `waits for ${holder}: can not report, counts until ${instant(end)} (${until(end, now)})`,
      ),
    );
  const hidden = inferredHolders.length - lines.length;
  return hidden > 0 ? [...lines, `… and ${hidden} more that can not report`] : lines;
}

export function laggardText(laggard: Laggard__Output, now: number): string {
  const what =
    laggard.consumerId === ''
      ? `the ${holderOf(laggard)} itself`
      : [laggard.spiffeId, laggard.description, laggard.kind]
          .filter((text) => text !== '')
          .join(' ');
  const holds =
    laggard.holds.length === 0
      ? 'holds nothing that is known'
      : `holds ${laggard.holds.map(shortId).join(', ')}`;
  return printable(
    `${nodeOf(laggard.agentId)}: ${what} – ${laggardState(laggard, now)}, ${holds}${leftOut(laggard, now)}`,
  );
}

/** The `reason` of a consumer that has left says the same as its state. */
function laggardState(laggard: Laggard__Output, now: number): string {
  const { state, reason, lastSeenAt, until: end } = laggard;
  const holder = holderOf(laggard);
  if (state === 'departed') return `left with a certificate that ends ${until(end, now)}`;
  if (state === 'lost')
    return `its ${holder} no longer knows it, its certificate ends ${until(end, now)}`;
  const why = reason === '' ? '' : ` (${reason})`;
  if (state === 'silent') return `has not reported yet, its ${holder} is connected`;
  if (state !== 'absent') return `${state}${why}`;
  // after a restart of the server, a report counts when the agent repeats it
  const seen =
    lastSeenAt === 0
      ? neverSeen(laggard)
      : `${holder} last seen: ${duration(Math.max(0, now - lastSeenAt))} ago, has not reported since`;
  return `absent${why}, ${seen}`;
}

/** The server has the times of agents in its database, and those of control planes in memory. */
const neverSeen = (laggard: Laggard__Output): string =>
  holderOf(laggard) === 'agent'
    ? 'agent last seen: never'
    : 'control plane not connected since the start of the server';

/** Who reports for it. */
const holderOf = ({ kind }: Laggard__Output): string =>
  kind === 'control-plane' || kind === 'served' ? 'control plane' : 'agent';

/** If its agent is connected, it renews, so that no instant can be given. */
const leftOut = ({ state, until: end }: Laggard__Output, now: number): string =>
  ['departed', 'lost', 'absent'].includes(state) ? `; left out ${until(end, now)}` : '';

/** `{"region":"eu"}` → `region eu` */
const scopeText = (json: string): string =>
  Object.entries(JSON.parse(json) as Record<string, unknown>)
    .map(([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(', ');

const texts: Readonly<Record<string, string>> = {
  WAITING_CONFIRMATION: 'is activated when it is confirmed',
  WAITING_SCHEDULE: 'its successor is prepared',
  WAITING_IMPORT: 'waits for its certificate: meshca authority request (upstream), or import',
  WAITING_OPERATOR: 'waits for you: meshca authority publish or activate',
  WAITING_CANARY: 'signs for more',
  CANARY_FAILING:
    'handshakes fail, so that it does not sign for more; repair the nodes, or meshca ' +
    'authority activate --disregard AGENT --reason TEXT',
  CANARY_NODES_FAILING: 'handshakes of some nodes fail, but of too few to stop it',
  CANARY_RENEWALS:
    'more of its requests fail than those of others, so that it does not sign for more',
  CANARY_UNREPORTED: 'nobody reports handshakes',
  DEADLINE_NEAR: 'must sign soon',
  DEADLINE_PASSED: 'should sign by now: some have not confirmed',
  CLOCK_JUMPED: 'the wall clock jumped: set it right, or meshca authority accept-clock',
  CLOCK_BEHIND_LOG:
    'the wall clock is behind the audit log: set it right, or meshca authority accept-clock',
  CLOCK_UNPROVEN:
    'the machine was restarted, and nothing proves the wall clock: if it is right, meshca authority accept-clock',
  ENDED: 'has ended and signs nothing: meshca authority rotate --kind KIND',
  AGENTS_ALTERED:
    'agents in the database differ from the log, so that the server does not know who must confirm',
  AUTHORITY_ALTERED:
    'an authority in the database differs from the log (OBJECT_NOT_IN_LOG), so that none of ' +
    'its kind is made, activated or ended: put its row back, or restore the database',
  ROTATION_ALTERED:
    'a rotation in the database differs from the log (OBJECT_NOT_IN_LOG), so that nothing ' +
    'of its kind goes on: put its row back, or restore the database',
  NO_SUCCESSOR: 'no authority signs',
  STANDBY_READY: 'stands by in the standby token',
  STANDBY_WAITING: 'stands by when every consumer has confirmed it',
  TOKEN_LOST:
    'the issuing token does not answer: the standby is activated by itself, or with meshca ' +
    'authority activate --standby',
};

function nextLines(status: RotationStatus__Output, options: PictureOptions): readonly string[] {
  const lines = status.notes
    .filter(({ code }) => texts[code] !== undefined)
    .map(({ code, authorityId, at, alert, agents }) => {
      const kind = status.authorities.find(({ authority }) => authority?.id === authorityId)
        ?.authority?.kind;
      const line =
        `${alert ? 'alert' : 'next '}: ` +
        (kind === undefined ? '' : `${kind} ${shortId(authorityId)} `) +
        (texts[code] as string).replace('KIND', kind ?? '') +
        (at > 0 ? `, ${until(at, options.now)}` : '') +
        (agents.length > 0 ? `: ${agents.map(printable).join(', ')}` : '');
      return alert && options.color ? `\u001b[1;31m${line}\u001b[0m` : line;
    });
  lines.push(...leftLines(status), ...crlLines(status, options));
  if (status.jumpedSeconds !== 0)
    lines.push(`alert: the wall clock is off by ${status.jumpedSeconds} s`);
  if (status.failure !== null)
    lines.push(
      `alert: rotation failed: ${status.failure.code}: ${printable(status.failure.message)}`,
    );
  return lines;
}

/** Authorities that were requested by hand, and whose certificate has not come. */
const leftLines = ({ authorities, operations }: RotationStatus__Output): readonly string[] =>
  authorities.flatMap(({ authority }) =>
    authority?.kind === 'issuing' &&
    authority.state === 'preparing' &&
    operations.every(({ successorId }) => successorId !== authority.id)
      ? [
          `next : issuing ${shortId(authority.id)} is left without certificate, which hinders nothing`,
          `       meshca authority request goes on with it where an upstream is configured;`,
          `       else meshca authority csr --id ${authority.id}`,
        ]
      : [],
  );

/** The CRLs that are missing for a complete set, by authority, and how to get them. */
function crlLines(
  { crls, crlsHandedOut, crlReach, authorities }: RotationStatus__Output,
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
          ? 'it is signed when its key is usable'
          : 'meshca authority import-crl FILE';
      // a CRL that never existed breaks nothing
      const alert = state !== 'missing';
      const line = `${alert ? 'alert' : 'next '}: ${kindOf(authorityId)} ${shortId(authorityId)} ${what}: ${next}`;
      return alert && color ? `\u001b[1;31m${line}\u001b[0m` : line;
    });
  for (const { authorityId, unlistedIds } of crls)
    if (unlistedIds.length > 0)
      lines.push(
        `alert: the CRL of ${kindOf(authorityId)} ${shortId(authorityId)} does not name ` +
          `${unlistedIds.map(shortId).join(', ')}, revoked here: have it revoked there`,
      );
  if (crlReach === 'http')
    lines.push(
      'alert: the CRLs are too large for agents: they go over HTTP alone, and consumers ' +
        'that enforce them refuse; rotate the issuing authority, whose CRL begins empty',
    );
  else if (crlReach === 'large-messages')
    lines.push(
      'alert: the CRLs are nearly too large for workloads whose gRPC client takes messages ' +
        'up to 4 MiB, its default: above that these get their certificates without CRLs; ' +
        'rotate the issuing authority, whose CRL begins empty',
    );
  if (crls.length > 0 && !crlsHandedOut)
    lines.push('no CRLs are handed out until each authority in use has one');
  return lines;
}

/** One line for logs and pipes. It contains what changed. */
export function summaryLine(
  status: RotationStatus__Output,
  successorId: string,
  now: number,
): string {
  const progress = status.authorities.find(({ authority }) => authority?.id === successorId);
  if (progress === undefined || progress.authority === null)
    return `successor ${shortId(successorId)} is being made`;
  const { authority, confirmation } = progress;
  const unseenUntil = confirmation?.unprovableUntil ?? 0;
  const waits =
    confirmation === null
      ? ''
      : authority.kind.startsWith('names-')
        ? unprovableText(confirmation, now)
        : ` proven ${confirmation.provenConfirmed}/${confirmation.provenNeeded} inferred ` +
          `${confirmation.inferredConfirmed}/${confirmation.inferredNeeded}` +
          (unseenUntil > now ? ` unseen-until ${instant(unseenUntil)}` : '');
  const first = confirmation?.laggards[0];
  return (
    `${authority.kind} ${shortId(authority.id)} ` +
    `${authority.state}${waits}${first === undefined ? '' : `; waits for ${laggardText(first, now)}`}`
  );
}

const unprovableText = ({ unprovableUntil }: Confirmation__Output, now: number): string =>
  ` unprovable${unprovableUntil > now ? `, published until ${instant(unprovableUntil)}` : ''}`;

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

/** Prints the operations under way, or the whole status as JSON. */
export function showRotation(
  context: CliContext,
  options: GlobalOptions,
  status: RotationStatus__Output,
): void {
  if (options.json) return json(context, status);
  for (const operation of status.operations)
    context.out(
      `under way: ${operation.kind} ${shortId(operation.successorId)} in the place of ` +
        `${operation.targets.map(shortId).join(', ') || 'nobody'}${operation.forced ? ', forced' : ''}\n`,
    );
  if (status.operations.length === 0) context.out('nothing is under way\n');
}
