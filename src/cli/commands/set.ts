import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import type { AgentTarget__Output } from '../../common/wire/generated/meshca/admin/v1/AgentTarget.ts';
import type { ChangedTarget__Output } from '../../common/wire/generated/meshca/admin/v1/ChangedTarget.ts';
import type { TargetGroup__Output } from '../../common/wire/generated/meshca/admin/v1/TargetGroup.ts';
import { action, allPages, limitOf, type GlobalOptions, type Outcome } from '../action.ts';
import { withAdmin, withAgentLocal } from '../connect.ts';
import { defaultLocalSocket, type CliContext } from '../context.ts';
import { exitCodes } from '../exit-codes.ts';
import { json, printable } from '../output.ts';
import {
  fellShort,
  nameOf,
  ofNode,
  outcomeText,
  showTarget,
  showTargets,
  type ShownTarget,
} from '../set-view.ts';

interface Where {
  readonly agent?: string;
  readonly group?: string;
  readonly local?: boolean;
  readonly socket?: string;
}

/** A delivery takes its time; the server waits 900 s for an agent. */
const deadlineSeconds = 1_000;

/** Sets of certificates for servers that read files. */
export function setCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const set = program
    .command('set')
    .description('sets of certificates at file targets of agents: list, stage, promote, roll back');
  listCommand(set, context, outcome);
  showCommand(set, context, outcome);
  for (const [verb, text] of [
    ['stage', 'have a new certificate obtained and written as a set, without serving it'],
    ['promote', 'have the staged set served now, whatever its turn'],
    ['rollback', 'have the set before served again, until a new one is staged'],
  ] as const)
    actCommand(set, { verb, text }, context, outcome);
}

const withPlace = (command: Command): Command =>
  command
    .option('--agent <id>', 'its agent, by SPIFFE ID or by name (the last segment)')
    .option('--local', 'ask the agent of this node, on its local socket')
    .option('--socket <path>', "with --local: the agent's local socket");

function listCommand(set: Command, context: CliContext, outcome: Outcome): void {
  withPlace(
    set
      .command('list')
      .description('file targets, what they serve, and what stands in the way')
      .option('--target <name>', 'targets of this name')
      .option('--group <name>', 'targets of this rollout group')
      .option('--limit <n>', 'the maximum number', '1000'),
  ).action(
    action<Where & { target?: string; limit?: string }>(context, outcome, async (options) => {
      const { targets, groups } = await listed(context, options, options.target ?? '');
      if (options.json) json(context, options.local ? { targets } : { targets, groups });
      else showTargets(context, targets, groups);
    }),
  );
}

function showCommand(set: Command, context: CliContext, outcome: Outcome): void {
  withPlace(
    set
      .command('show <target>')
      .description('one file target with its sets; --local adds its history'),
  ).action(
    action<Where>(context, outcome, async (options, [name]) => {
      const target = await theTarget(context, options, name as string);
      if (options.json) json(context, target);
      else showTarget(context, target);
    }),
  );
}

function actCommand(
  set: Command,
  { verb, text }: { readonly verb: keyof typeof methods; readonly text: string },
  context: CliContext,
  outcome: Outcome,
): void {
  withPlace(
    set
      .command(`${verb} [target]`)
      .description(text)
      .option('--group <name>', 'in place of a target: all of this rollout group')
      .option('--reason <text>', 'for the audit record', ''),
  ).action(
    action<Where & { reason: string }>(context, outcome, async (options, [name]) => {
      if ((name === undefined) === (options.group === undefined))
        throw new PkiError('INVALID_REQUEST', 'name either a target, or --group');
      if (options.local && name === undefined)
        throw new PkiError('INVALID_REQUEST', 'a group is known to the server, not to one agent');
      if (options.local) {
        const target = await atNode(context, options, verb, name as string);
        if (options.json) json(context, target);
        else context.out(outcomeText(target, verb));
        return fellShort(target, verb) ? exitCodes.failed : exitCodes.ok;
      }
      return atServer(context, options, verb, name);
    }),
  );
}

const methods = {
  stage: { server: 'StageTargets', node: 'StageTarget' },
  promote: { server: 'PromoteTargets', node: 'PromoteTarget' },
  rollback: { server: 'RollBackTargets', node: 'RollbackTarget' },
} as const;

async function atServer(
  context: CliContext,
  options: Where & GlobalOptions & { readonly reason: string },
  verb: keyof typeof methods,
  name: string | undefined,
): Promise<number> {
  const { reason, group = '' } = options;
  const one = name === undefined ? undefined : await theTarget(context, options, name);
  const { results } = await unlessLeft(
    context,
    'See meshca set list for what became of it: the agent may still do it.',
    withAdmin(context, options, 'Targets', (calls) =>
      calls.call(
        methods[verb].server,
        { agentId: one?.agentId ?? '', target: one?.name ?? '', group, reason },
        { deadlineSeconds },
      ),
    ),
  );
  if (options.json) json(context, results);
  else if (results.length === 0) context.out(`nothing waits in the group ${group}\n`);
  else for (const result of results) context.out(resultText(result, verb));
  const isShort = ({ code, after }: ChangedTarget__Output): boolean =>
    code !== '' || (after !== null && fellShort(after, verb));
  return results.some(isShort) ? exitCodes.failed : exitCodes.ok;
}

function resultText(result: ChangedTarget__Output, verb: string): string {
  const { agentId, target: name, code, message, next, after } = result;
  if (code !== '')
    return `${nameOf({ agentId, name })}: ${code}: ${printable(message)}\n  next: ${printable(next)}\n`;
  return after === null ? `${nameOf({ agentId, name })}: done\n` : outcomeText(after, verb);
}

const atNode = (
  context: CliContext,
  options: Where,
  verb: keyof typeof methods,
  name: string,
): Promise<ShownTarget> =>
  unlessLeft(
    context,
    'See meshca set list --local for what became of it: the agent may still do it.',
    withAgentLocal(context, socketOf(context, options), async (calls) =>
      ofNode(await calls.call(methods[verb].node, { name }, { deadlineSeconds })),
    ),
  );

/** An interruption ends the waiting, and not what the agent does. */
async function unlessLeft<T>(context: CliContext, next: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (thrown) {
    if (!context.signal.aborted) throw thrown;
    throw new PkiError('CANCELLED', 'interrupted before the answer of the agent', { next });
  }
}

const socketOf = (context: CliContext, { socket }: Where): string =>
  socket ?? context.env['MESHCA_LOCAL_SOCKET'] ?? defaultLocalSocket;

/** The targets that fit, from the server or from the agent of this node. */
async function listed(
  context: CliContext,
  options: Where & GlobalOptions & { readonly limit?: string },
  target: string,
): Promise<{
  readonly targets: readonly ShownTarget[];
  readonly groups: readonly TargetGroup__Output[];
}> {
  const { agent, group = '' } = options;
  if (options.local) {
    const { targets } = await withAgentLocal(context, socketOf(context, options), (calls) =>
      calls.call('ListTargets', { name: target }),
    );
    const shown = targets.map(ofNode);
    return {
      targets: group === '' ? shown : shown.filter((one) => one.group === group),
      groups: [],
    };
  }
  const groups = new Map<string, TargetGroup__Output>();
  const whole = agent?.startsWith('spiffe://') === true ? agent : '';
  const targets = await withAdmin(context, options, 'Targets', (calls) =>
    allPages<AgentTarget__Output>(context, limitOf(options), async (page) => {
      const answer = await calls.call('ListTargets', { page, agentId: whole, target, group });
      for (const each of answer.groups) groups.set(each.name, each);
      return { items: answer.targets, next: answer.nextPageToken };
    }),
  );
  const named =
    agent === undefined || whole !== ''
      ? targets
      : targets.filter(({ agentId }) => agentId.endsWith(`/${agent.replace(/^\//, '')}`));
  const shown = new Set(named.map((each) => each.group));
  return { targets: named, groups: [...groups.values()].filter(({ name }) => shown.has(name)) };
}

/** The one target that is meant. Where several agents have one of this name, --agent decides. */
async function theTarget(
  context: CliContext,
  options: Where & GlobalOptions,
  name: string,
): Promise<ShownTarget> {
  const { agent, local } = options;
  const { targets } = await listed(
    context,
    { ...options, group: '', limit: '100000' } as Where & GlobalOptions,
    name,
  );
  const [only, ...more] = targets;
  if (only === undefined)
    throw new PkiError(
      'TARGET_UNKNOWN',
      `${agent ?? 'no agent'} reports ${agent === undefined ? 'a' : 'no'} target ${JSON.stringify(name)}`,
      local ? { next: 'See meshca set list --local.' } : {},
    );
  if (more.length > 0)
    throw new PkiError(
      'INVALID_REQUEST',
      `${targets.length} agents have a target ${name}: ${targets
        .slice(0, 5)
        .map(({ agentId }) => agentId)
        .join(', ')}${targets.length > 5 ? ' and others' : ''}`,
      { next: 'Name the agent with --agent.' },
    );
  return only;
}
