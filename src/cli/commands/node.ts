import { credentials, makeGenericClientConstructor } from '@grpc/grpc-js';
import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import type { Explanation__Output } from '../../common/wire/generated/meshca/agent/v1/Explanation.ts';
import { action, wholeNumber, type GlobalOptions, type Outcome } from '../action.ts';
import { withAgentLocal } from '../connect.ts';
import { unreachable } from '../unreachable.ts';
import { defaultAdminSocket, defaultLocalSocket, type CliContext } from '../context.ts';
import { exitCodes } from '../exit-codes.ts';
import { checkMachine } from './doctor.ts';
import { mintCommand } from './mint.ts';
import { facts, instant, json } from '../output.ts';
import { ofNode, showTarget } from '../set-view.ts';
import { table } from '../table.ts';

/** Commands for one machine: server, mint, validate, healthcheck, explain. */
export function nodeCommands(program: Command, context: CliContext, outcome: Outcome): void {
  program
    .command('server')
    .description('the CA server')
    .command('run')
    .description('run the CA server')
    .option(
      '-c, --config <path>',
      'YAML or JSON; the environment can set every key as well (MESHCA_SERVER_…)',
    )
    .option(
      '--accept-restore <records>',
      'once, after a restore: go on although a checkpoint over this number of records was published',
    )
    .action(
      action<{ config?: string; acceptRestore?: string }>(context, outcome, (options) =>
        context.dependencies.runServer({
          configPath: options.config,
          ...(options.acceptRestore === undefined
            ? {}
            : { acceptRestore: wholeNumber('--accept-restore', options.acceptRestore) }),
        }),
      ),
    );
  mintCommand(program, context, outcome);
  validateCommand(program, context, outcome);
  healthCommand(program, context, outcome);
  explainCommand(program, context, outcome);
}

function validateCommand(program: Command, context: CliContext, outcome: Outcome): void {
  program
    .command('validate [file]')
    .description('check a configuration without starting anything')
    .option('--agent', 'the file is the configuration of an agent')
    .option('--check', 'check this machine as well, like "meshca doctor"')
    .option('--schema <kind>', 'print the JSON Schema instead: server or agent')
    .action(
      action<{ agent?: boolean; schema?: string; check?: boolean }>(
        context,
        outcome,
        async (options, [file]) => {
          if (options.schema !== undefined) {
            if (options.schema !== 'server' && options.schema !== 'agent')
              throw new PkiError(
                'INVALID_REQUEST',
                `--schema ${JSON.stringify(options.schema)} is neither server nor agent`,
              );
            context.out(
              `${JSON.stringify(await context.dependencies.jsonSchema(options.schema), null, 2)}\n`,
            );
            return undefined;
          }
          if (file === undefined)
            throw new PkiError('INVALID_REQUEST', 'the path of the file is missing');
          const checked = await context.dependencies.validate(
            options.agent ? 'agent' : 'server',
            file,
          );
          if (!checked.ok) {
            const other = options.agent ? 'server' : 'agent';
            if (!(await context.dependencies.validate(other, file)).ok) throw checked.error;
            throw new PkiError(checked.error.code, checked.error.message, {
              cause: checked.error,
              next:
                'It is a valid configuration of ' +
                `${other === 'agent' ? 'an agent: add' : 'a server: leave out'} --agent.`,
            });
          }
          if (options.check === true)
            return checkMachine(context, options, options.agent ? 'agent' : 'server', file);
          if (options.json)
            json(context, { valid: true, ...Object.fromEntries(checked.value.summary) });
          else {
            context.out(`${file} is valid\n`);
            facts(context, checked.value.summary);
          }
          return undefined;
        },
      ),
    );
}

interface HealthOptions {
  readonly ready?: boolean;
  readonly socket?: string;
}

/** A restart destroys the keys in memory. Therefore readiness is no reason for a restart. */
function healthCommand(program: Command, context: CliContext, outcome: Outcome): void {
  program
    .command('healthcheck <what>')
    .description(
      'exit with 0 while the server or agent on this machine answers; for liveness probes of containers',
    )
    .option('--ready', 'exit with 0 only while it can serve; for traffic, never for restarts')
    .option('--socket <path>', 'its socket')
    .action(
      action<HealthOptions>(context, outcome, async (options, [what]) => {
        if (what === 'agent') {
          const path = options.socket ?? context.env['MESHCA_LOCAL_SOCKET'] ?? defaultLocalSocket;
          const status = await withAgentLocal(context, path, (calls) =>
            calls.call('GetStatus', {}, { deadlineSeconds: 5 }),
          );
          return report(context, options, 'agent', status);
        }
        if (what !== 'server')
          throw new PkiError(
            'INVALID_REQUEST',
            `${JSON.stringify(what)} is neither server nor agent`,
          );
        const path =
          options.socket ??
          options.serverSocket ??
          context.env['MESHCA_ADMIN_SOCKET'] ??
          defaultAdminSocket;
        return report(context, options, 'server', {
          ready: await serving(path),
          reasons: [],
        });
      }),
    );
}

async function serving(path: string): Promise<boolean> {
  const { healthService } = await import('../../common/wire/standard-services.ts');
  const HealthClient = makeGenericClientConstructor(healthService, 'Health');
  const client = new HealthClient(`unix:${path}`, credentials.createInsecure(), {
    'grpc.default_authority': 'localhost',
  });
  const check = client['Check'] as (
    request: object,
    options: object,
    callback: (error: Error | null, answer?: { readonly status: string }) => void,
  ) => void;
  try {
    return await new Promise<boolean>((resolve, reject) => {
      const options = { deadline: new Date(Date.now() + 5_000) };
      check.call(client, { service: '' }, options, (error, answer) => {
        if (error) reject(unreachable(new PkiError('UNREACHABLE', error.message), path));
        else resolve(answer?.status === 'SERVING');
      });
    });
  } finally {
    client.close();
  }
}

function report(
  context: CliContext,
  options: HealthOptions & GlobalOptions,
  what: string,
  { ready, reasons }: { readonly ready: boolean; readonly reasons: readonly string[] },
): number {
  if (options.json) json(context, { live: true, ready, reasons });
  else
    context.out(
      ready
        ? `${what}: serving\n`
        : `${what}: ${options.ready ? '' : 'alive, '}not ` +
            `serving${reasons.length > 0 ? ` (${reasons.join('; ')})` : ''}\n`,
    );
  return ready || !options.ready ? exitCodes.ok : exitCodes.unavailable;
}

function explainCommand(program: Command, context: CliContext, outcome: Outcome): void {
  program
    .command('explain')
    .description('explain why a process or file target of this node got an identity or not')
    .option('--pid <pid>', 'a running process')
    .option('--refusal <id>', 'the refusal ID that a process received')
    .option('--target <name>', 'a file target of the agent: its identity, state and history')
    .option('--socket <path>', "the agent's local socket")
    .action(
      action<{ pid?: string; refusal?: string; target?: string; socket?: string }>(
        context,
        outcome,
        async (options) => {
          const { refusal, target } = options;
          if ([options.pid, refusal, target].filter((each) => each !== undefined).length !== 1)
            throw new PkiError('INVALID_REQUEST', 'give one of --pid, --refusal and --target');
          const pid = options.pid === undefined ? undefined : Number(options.pid);
          if (pid !== undefined && (!Number.isInteger(pid) || pid < 1))
            throw new PkiError(
              'INVALID_REQUEST',
              `--pid ${JSON.stringify(options.pid)} is not a process ID`,
            );
          const path = options.socket ?? context.env['MESHCA_LOCAL_SOCKET'] ?? defaultLocalSocket;
          const explanation = await withAgentLocal(context, path, (calls) =>
            calls.call('Explain', {
              ...(pid === undefined ? {} : { pid }),
              ...(refusal === undefined ? {} : { refusalId: refusal }),
              ...(target === undefined ? {} : { targetName: target }),
            }),
          );
          if (options.json) {
            json(context, explanation);
            return;
          }
          showExplanation(context, explanation);
        },
      ),
    );
}

function showForeignTrust(context: CliContext, { foreignTrust }: Explanation__Output): void {
  if (foreignTrust.length === 0) return;
  context.out('\nForeign trust domains:\n');
  table(
    context,
    [
      { title: 'TRUST DOMAIN', value: (row) => row.trustDomain },
      { title: 'BUNDLE', value: (row) => (row.granted ? `sequence ${row.sequence}` : 'none') },
      { title: 'ROOTS', value: (row) => (row.granted ? String(row.x509Authorities) : '-') },
      { title: 'JWT KEYS', value: (row) => (row.granted ? String(row.jwtAuthorities) : '-') },
      { title: 'ENTRIES', value: (row) => row.entryIds.join(' ') || '-', priority: 2 },
      { title: 'REASON', value: (row) => row.reason || '-' },
    ],
    foreignTrust,
    '',
  );
}

const givenTo = (target: Explanation__Output['fileTarget']): string =>
  (target?.names.length ?? 0) > 0 ? 'gets names, and no identity' : 'gets an identity';

function showExplanation(context: CliContext, explanation: Explanation__Output): void {
  const { fileTarget } = explanation;
  facts(context, [
    fileTarget === null
      ? ['process', explanation.pid === 0 ? '-' : String(explanation.pid)]
      : ['file target', fileTarget.name],
    ['time', instant(explanation.time)],
    ['outcome', explanation.granted ? givenTo(fileTarget) : `refused: ${explanation.code}`],
    ...(explanation.refusalId === '' ? [] : [['refusal ID', explanation.refusalId] as const]),
    ...(explanation.message === '' ? [] : [['message', explanation.message] as const]),
    ...((fileTarget?.names.length ?? 0) > 0
      ? []
      : [['identities', explanation.grantedSpiffeIds.join('\n') || '-'] as const]),
    ...(explanation.secretNames.length === 0
      ? []
      : [['SDS names', explanation.secretNames.join('\n')] as const]),
    ['selectors', explanation.selectors.join('\n') || '-'],
  ]);
  if (fileTarget !== null) {
    context.out('\n');
    showTarget(context, ofNode(fileTarget));
  }
  showForeignTrust(context, explanation);
  if (explanation.nearMisses.length === 0) return;
  context.out('\nThe entries that matched best:\n');
  table(
    context,
    [
      { title: 'ENTRY', value: (row) => row.entryId, short: 'id' },
      { title: 'SPIFFE ID', value: (row) => row.spiffeId },
      { title: 'MATCHED', value: (row) => row.matched.join(' ') || '-', priority: 2 },
      { title: 'MISSED', value: (row) => row.missed.join(' ') || '-' },
    ],
    explanation.nearMisses,
    '',
  );
}
