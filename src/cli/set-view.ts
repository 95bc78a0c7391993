import type { TargetGroup__Output } from '../common/wire/generated/meshca/admin/v1/TargetGroup.ts';
import type { FileTarget__Output } from '../common/wire/generated/meshca/agent/v1/FileTarget.ts';
import type { CliContext } from './context.ts';
import { facts, instant, printable, until } from './output.ts';
import { table } from './table.ts';

/** A file target, as a server or its own agent tells of it. */
export interface ShownTarget {
  /** Empty: the agent of this node. */
  readonly agentId: string;
  readonly connected: boolean;
  readonly name: string;
  readonly driver: string;
  readonly state: string;
  readonly reason: string;
  readonly next: string;
  readonly spiffeId: string;
  /** Of a certificate for names, whose owner `spiffeId` is. */
  readonly names: readonly string[];
  readonly since: number;
  readonly sets: readonly ShownSet[];
  readonly group: string;
  /** `turn`, `hand`, or empty. */
  readonly waitsFor: string;
  /** Only the agent of this node tells them. */
  readonly directory?: string;
  readonly history?: readonly {
    readonly at: number;
    readonly set: string;
    readonly state: string;
    readonly note: string;
  }[];
}

interface ShownSet {
  readonly name: string;
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly current: boolean;
}

const served = ({ sets }: ShownTarget): ShownSet | undefined => sets.find(({ current }) => current);

/** The name of a set is its number and its serial. */
const numberOf = (set: { readonly name: string } | undefined): string =>
  set?.name.split('-')[0] || '-';

const shownNames = 3;

/** What the certificate says: an identity, or some of its names. */
const subjectOf = ({ names, spiffeId }: ShownTarget): string => {
  const more = names.length > shownNames ? ` and ${names.length - shownNames} more` : '';
  return names.length === 0 ? spiffeId || '-' : `${names.slice(0, shownNames).join(' ')}${more}`;
};

const waits: Readonly<Record<string, string>> = { turn: 'its turn', hand: 'a hand' };

/** `web` or `web on node-1` */
export const nameOf = ({ name, agentId }: Pick<ShownTarget, 'name' | 'agentId'>): string =>
  agentId === '' ? name : `${name} on ${shortAgent(agentId)}`;

/** The last segment names an agent for people, as in other commands. */
const shortAgent = (agentId: string): string => agentId.split('/').at(-1) ?? agentId;

/** A target as the agent of this node states it. */
export const ofNode = ({ rolloutGroup, ...target }: FileTarget__Output): ShownTarget => ({
  ...target,
  agentId: '',
  connected: true,
  group: rolloutGroup,
});

export function showTargets(
  context: CliContext,
  targets: readonly ShownTarget[],
  groups: readonly TargetGroup__Output[],
): void {
  const local = targets.every(({ agentId }) => agentId === '');
  table(
    context,
    [
      { title: 'TARGET', value: (row) => row.name },
      ...(local ? [] : [{ title: 'AGENT', value: (row: ShownTarget) => row.agentId }]),
      { title: 'STATE', value: (row) => (row.connected ? row.state : `${row.state} (away)`) },
      { title: 'SET', value: (row) => numberOf(served(row)), align: 'right', priority: 2 },
      {
        ...{ title: 'SERIAL', short: 'serial', priority: 2 },
        value: (row) => served(row)?.serial ?? '-',
      },
      { title: 'ENDS', value: (row) => until(served(row)?.notAfter ?? 0, context.now()) },
      { title: 'GROUP', value: (row) => row.group || '-', priority: 2 },
      { title: 'DRIVER', value: (row) => row.driver, priority: 3 },
      { title: 'SINCE', value: (row) => until(row.since, context.now()), priority: 3 },
      { title: 'SPIFFE ID OR NAMES', value: subjectOf, priority: 4 },
    ],
    targets,
    'no file targets; they are in the configuration of agents (docs/file-targets.md)',
  );
  for (const target of targets) context.out(hindrance(target));
  for (const group of groups) context.out(groupText(context, group));
}

function hindrance(target: ShownTarget): string {
  const waiting = waits[target.waitsFor];
  const text = [
    ...(target.reason === '' ? [] : [target.reason]),
    ...(waiting === undefined ? [] : [`the staged set waits for ${waiting}`]),
  ].join('; ');
  if (text === '') return '';
  const next = target.next === '' ? '' : `  next: ${printable(target.next)}\n`;
  return `\n${nameOf(target)}: ${printable(text)}\n${next}`;
}

function groupText(
  context: CliContext,
  { name, phase, hold, until: at, holding }: TargetGroup__Output,
): string {
  const head = `\ngroup ${name}: `;
  switch (hold) {
    case 'canary':
      return `${head}HELD, the others wait since a target failed that had its turn\n${holding
        .map(
          ({ agentId, target, set, reason }) =>
            `  ${nameOf({ name: target, agentId })}, set ${numberOf({ name: set })}: ${printable(reason) || 'rolled back'}\n`,
        )
        .join('')}  go on all the same: meshca set promote --group ${name}\n`;
    case 'handshakes':
      return `${head}HELD, more handshakes fail than before the first turns\n${holding
        .map(({ agentId }) => `  seen by ${agentId}\n`)
        .join('')}  go on all the same: meshca set promote --group ${name}\n`;
    case 'observing':
      return `${head}the first part is watched until ${instant(at)} (${until(at, context.now())})\n`;
    case 'proving':
      return `${head}the first part is to be proven\n`;
    default:
      return `${head}${phase === 'rest' ? 'the rest' : 'the first part'} has its turn\n`;
  }
}

export function showTarget(context: CliContext, target: ShownTarget): void {
  facts(context, [
    ['target', target.name],
    ...(target.agentId === ''
      ? []
      : [['agent', `${target.agentId}${target.connected ? '' : ' (away)'}`] as const]),
    ['state', `${target.state}, since ${instant(target.since)}`],
    ...(target.reason === '' ? [] : [['reason', target.reason] as const]),
    ...(target.next === '' ? [] : [['next', target.next] as const]),
    ...(target.names.length === 0
      ? [['SPIFFE ID', target.spiffeId || '-'] as const]
      : ([
          ['names', target.names.join('\n')],
          ['owner', target.spiffeId || '-'],
          ['trust', 'unprovable: whoever relies on names reports nothing'],
        ] as const)),
    ['driver', target.driver],
    ...(target.directory === undefined ? [] : [['directory', target.directory] as const]),
    ['group', target.group || '-'],
    ...(target.waitsFor === ''
      ? []
      : [['waits for', waits[target.waitsFor] ?? target.waitsFor] as const]),
  ]);
  context.out('\n');
  table(
    context,
    [
      { title: 'SET', value: numberOf, align: 'right' },
      { title: 'SERIAL', value: (row) => row.serial, short: 'serial' },
      { title: 'SERVED', value: (row) => (row.current ? 'yes' : '-') },
      { title: 'FROM', value: (row) => instant(row.notBefore), priority: 2 },
      { title: 'UNTIL', value: (row) => instant(row.notAfter) },
      { title: 'ENDS', value: (row) => until(row.notAfter, context.now()), priority: 3 },
    ],
    target.sets,
    'no sets',
  );
  if (target.history === undefined || target.history.length === 0) return;
  context.out('\n');
  table(
    context,
    [
      { title: 'AT', value: (row) => instant(row.at) },
      { title: 'SET', value: (row) => numberOf({ name: row.set }), align: 'right', priority: 2 },
      { title: 'STATE', value: (row) => row.state },
      { title: 'NOTE', value: (row) => row.note || '-' },
    ],
    target.history,
    '',
  );
}

/** A promotion whose set went back or was not served; or nothing that is served can be shown. */
export const fellShort = ({ state, reason }: ShownTarget, verb: string): boolean =>
  (verb !== 'stage' && state === 'failed') ||
  (verb === 'promote' &&
    (state === 'rolled-back' || (reason !== '' && !reason.startsWith('TARGET_ENDING'))));

/** One line on what came of an act; where it fell short, the reason and what to do as well. */
export const outcomeText = (target: ShownTarget, verb: string): string => {
  const staged = target.sets.at(-1);
  const set = served(target);
  const serves = set === undefined ? 'nothing' : setText(set);
  const more = target.state === 'staged' ? `; set ${numberOf(staged)} is staged` : '';
  const line = `${nameOf(target)}: ${target.state}, serves ${serves}${more}\n`;
  if (!fellShort(target, verb)) return line;
  return [line, ...detail(target.reason, ''), ...detail(target.next, 'next: ')].join('');
};

const detail = (text: string, label: string): readonly string[] =>
  text === '' ? [] : [`  ${label}${printable(text)}\n`];

const setText = (set: ShownSet): string => `set ${numberOf(set)} (${set.serial})`;
