import type { Command } from 'commander';
import type { Agent__Output } from '../../common/wire/generated/meshca/admin/v1/Agent.ts';
import type { AgentDetail__Output } from '../../common/wire/generated/meshca/admin/v1/AgentDetail.ts';
import { action, allPages, limitOf, type Outcome } from '../action.ts';
import { agentId } from '../agent-id.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { duration, facts, instant, json, printable, until } from '../output.ts';
import { namesColumn } from '../entry-view.ts';
import { table } from '../table.ts';
import { agentApiCommands } from './agent-api.ts';

export function agentCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const agent = program
    .command('agent')
    .description('the agent on this node, and the agents that the server knows');
  agent
    .command('run')
    .description('run the agent of this node')
    .option(
      '-c, --config <path>',
      'YAML or JSON; the environment can set every key as well (MESHCA_AGENT_…)',
    )
    .action(
      action<{ config?: string }>(context, outcome, (options) =>
        context.dependencies.runAgent({ configPath: options.config }),
      ),
    );
  listCommand(agent, context, outcome);
  showCommand(agent, context, outcome);
  for (const [verb, method, text] of [
    ['ban', 'BanAgent', 'end issuing, renewal and sync for an agent immediately'],
    ['evict', 'EvictAgent', 'forget an agent and its ban: the node must attest again'],
  ] as const) {
    agent
      .command(`${verb} <id>`)
      .description(text)
      .option('--reason <text>', 'for the audit record', '')
      .action(
        action<{ reason: string }>(context, outcome, async (options, [id]) => {
          const spiffeId = await agentId(context, options, id as string);
          const { changed, detail } = await withAdmin(
            context,
            options,
            'Agents',
            async (calls) => ({
              changed: await calls.call(method, { spiffeId, reason: options.reason }),
              detail: await calls.call('GetAgent', { spiffeId }),
            }),
          );
          if (options.json) {
            json(context, changed);
            return;
          }
          context.out(`${changed.spiffeId} is ${changed.state}\n`);
          if (detail.liveCertificates > 0)
            context.out(
              `${detail.liveCertificates} certificates issued through it are still valid, ` +
                `the last until ${instant(detail.lastNotAfter)} ` +
                `(${until(detail.lastNotAfter, context.now())})\n`,
            );
        }),
      );
  }
  keepCommand(agent, context, outcome);
  agentApiCommands(agent, context, outcome);
}

function listCommand(agent: Command, context: CliContext, outcome: Outcome): void {
  agent
    .command('list')
    .description('agents')
    .option('--state <state>', 'active, banned or evicted')
    .option('--limit <n>', 'the maximum number', '1000')
    .action(
      action<{ state?: string; limit?: string }>(context, outcome, async (options) => {
        const agents = await withAdmin(context, options, 'Agents', (calls) =>
          allPages(context, limitOf(options), async (page) => {
            const { agents, nextPageToken } = await calls.call('ListAgents', {
              page,
              state: options.state ?? '',
            });
            return { items: agents, next: nextPageToken };
          }),
        );
        if (options.json) {
          json(context, agents);
          return;
        }
        table(
          context,
          [
            { title: 'AGENT', value: (row) => row.spiffeId },
            { title: 'STATE', value: (row) => row.state },
            { title: 'CONNECTED', value: (row) => (row.connected ? 'yes' : 'no'), priority: 2 },
            { title: 'ATTESTED BY', value: (row) => row.attestationType, priority: 4 },
            {
              title: 'SVID ENDS',
              value: (row) => until(row.svidNotAfter, context.now()),
              priority: 3,
            },
            {
              title: 'LAST SEEN',
              value: (row) => (row.connected ? 'now' : until(row.lastSeenAt, context.now())),
            },
          ],
          agents,
          'no agents; "meshca token create --agent-name NAME" lets one join',
        );
        for (const row of agents) {
          if (row.doubled !== null) context.out(doubledLine(context, row));
          context.out(revokedLine(row));
          context.out(refusalLine(row));
        }
      }),
    );
}

type Double = NonNullable<Agent__Output['doubled']>;
type Refusal = NonNullable<Agent__Output['bundleRefusal']>;

const refusalAdvice =
  'after a restore: stop this agent, remove its data directory, and let it join again before a root ' +
  'is rotated (meshca token create)';

const doubledBy: Readonly<Record<string, string>> = {
  'older-certificate': 'an older certificate of the agent was shown',
  'second-connection': 'two running processes have its certificate',
  'second-key': 'its node certificate was shown with another key',
};

const doubledText = (context: CliContext, { how, times, seenAt }: Double): string =>
  `${doubledBy[how] ?? how} (${times} times, last ${until(seenAt, context.now())})`;

const doubledLine = (context: CliContext, { spiffeId, doubled }: Agent__Output): string =>
  doubled === null || doubled === undefined
    ? ''
    : `\nTWO AGENTS use ${spiffeId}: ${doubledText(context, doubled)}\n  see both: meshca ` +
      `agent show ${spiffeId}\n  decide:   meshca agent keep ${spiffeId} --instance INSTANCE\n`;

const refusalText = ({ sequence, heldSequence, code, message }: Refusal): string =>
  `refuses ${sequence}, goes on with ${heldSequence}: ${code}: ${message}`;

/** What is to be done stands in docs/operations.md. */
const refusalLine = ({ spiffeId, bundleRefusal }: Agent__Output): string =>
  bundleRefusal === null
    ? ''
    : `\nBUNDLE REFUSED by ${spiffeId}: ${printable(refusalText(bundleRefusal))}\n  ${refusalAdvice}\n`;

const revokedLine = ({ spiffeId, evidenceRevoked }: Agent__Output): string =>
  evidenceRevoked === ''
    ? ''
    : `\nREVOKED: ${spiffeId} stands, and it came in by what was revoked since: ` +
      `${printable(evidenceRevoked)}\n  end it: meshca agent ban ${spiffeId}\n`;

function keepCommand(agent: Command, context: CliContext, outcome: Outcome): void {
  agent
    .command('keep <id>')
    .description(
      'decide which of two processes goes on with the identity of an agent: it renews ' +
        'immediately, and the other is superseded',
    )
    .option(
      '--instance <id>',
      'the process: its name in "meshca agent show", or the beginning of the name; default: ' +
        'the process that has the session',
      '',
    )
    .option('--reason <text>', 'for the audit record', '')
    .action(
      action<{ instance: string; reason: string }>(context, outcome, async (options, [id]) => {
        const spiffeId = await agentId(context, options, id as string);
        const kept = await withAdmin(context, options, 'Agents', (calls) =>
          calls.call('KeepAgent', {
            spiffeId,
            instanceId: options.instance.replaceAll('…', ''),
            reason: options.reason,
          }),
        );
        if (options.json) {
          json(context, kept);
          return;
        }
        context.out(
          `${spiffeId} is kept. It renews immediately, or when it connects next. From then ` +
            'on the other process gets no session, and its certificate no longer counts.\n',
        );
      }),
    );
}

function showCommand(agent: Command, context: CliContext, outcome: Outcome): void {
  agent
    .command('show <id>')
    .description(
      'show one agent, by its SPIFFE ID or its name (the last segment), with its blast ' +
        'radius: everything that the node could obtain',
    )
    .action(
      action(context, outcome, async (options, [id]) => {
        const spiffeId = await agentId(context, options, id as string);
        const detail = await withAdmin(context, options, 'Agents', (calls) =>
          calls.call('GetAgent', { spiffeId }),
        );
        if (options.json) {
          json(context, detail);
          return;
        }
        showAgent(context, detail);
      }),
    );
}

function showAgent(context: CliContext, detail: AgentDetail__Output): void {
  const { agent } = detail;
  if (agent === null) return;
  facts(context, [
    ['agent', agent.spiffeId],
    ['state', agent.stateReason === '' ? agent.state : `${agent.state}: ${agent.stateReason}`],
    ['connected', agent.connected ? 'yes' : 'no'],
    ['version', agent.version || '-'],
    ['attested', `${instant(agent.attestedAt)} by ${agent.attestationType}`],
    ...(agent.evidenceRevoked === ''
      ? []
      : [['evidence', `revoked: ${agent.evidenceRevoked}`] as const]),
    ...(agent.bundleRefusal === null
      ? []
      : [['bundle', `${refusalText(agent.bundleRefusal)}\n${refusalAdvice}`] as const]),
    ['renewed', instant(agent.renewedAt)],
    ['serial', agent.serial],
    ['svid ends', `${instant(agent.svidNotAfter)} (${until(agent.svidNotAfter, context.now())})`],
    ['last seen', agent.connected ? 'now' : instant(agent.lastSeenAt)],
    [
      'survives an outage of',
      agent.survivedOutageSeconds === 0 ? '-' : duration(agent.survivedOutageSeconds),
    ],
    ['selectors', agent.selectors.join('\n') || '-'],
    ['parents', detail.parentIds.join('\n')],
    [
      'live certificates',
      `${detail.liveCertificates}, the last until ${instant(detail.lastNotAfter)}`,
    ],
    [
      'can obtain',
      `${detail.obtainableTotal} ${detail.obtainableTotal === 1 ? 'entry' : 'entries'}`,
    ],
  ]);
  if (agent.doubled !== null) showDouble(context, agent.doubled);
  showHoldings(context, detail);
}

/** Shows the processes that use the identity of one agent, so that an operator can decide. */
function showDouble(context: CliContext, doubled: Double): void {
  context.out(`\nTWO AGENTS: ${doubledText(context, doubled)}\n`);
  table(
    context,
    [
      { title: 'INSTANCE', value: (row) => row.id.slice(0, 12) || '-' },
      { title: 'FROM', value: (row) => row.peer },
      { title: 'CONNECTED', value: (row) => (row.connected ? 'yes' : 'no') },
      { title: 'CERTIFICATE', value: (row) => row.serial || '-', short: 'serial' },
      { title: 'SEEN', value: (row) => until(row.seenAt, context.now()) },
      { title: 'VERSION', value: (row) => row.version || '-', priority: 2 },
    ],
    doubled.instances,
    '',
  );
}

/** Shows the entries that the node can obtain, and its consumers. */
function showHoldings(
  context: CliContext,
  { obtainableEntries, consumers }: AgentDetail__Output,
): void {
  if (obtainableEntries.length > 0) {
    context.out('\n');
    table(
      context,
      [
        { title: 'ENTRY', value: (row) => row.id, short: 'id' },
        { title: 'SPIFFE ID', value: (row) => row.spiffeId },
        ...namesColumn(obtainableEntries),
        { title: 'SELECTORS', value: (row) => row.selectors.join(' ') },
      ],
      obtainableEntries,
      '',
    );
  }
  if (consumers.length > 0) {
    context.out('\n');
    table(
      context,
      [
        { title: 'CONSUMER', value: (row) => row.id, short: 'id' },
        { title: 'KIND', value: (row) => row.kind, priority: 2 },
        { title: 'SPIFFE ID', value: (row) => row.spiffeId },
        { title: 'STATE', value: (row) => row.state },
      ],
      consumers,
      '',
    );
  }
}
