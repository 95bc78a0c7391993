import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import type { RotationStatus__Output } from '../../common/wire/generated/meshca/admin/v1/RotationStatus.ts';
import { action, collect, type GlobalOptions, type Outcome } from '../action.ts';
import { agentId } from '../agent-id.ts';
import { authorityId } from '../authority-id.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { json } from '../output.ts';
import { arrives, rotated, successorOf } from '../rotation-goals.ts';
import {
  canaryOf,
  placeOf,
  sharesOf,
  type CanaryFlags,
  type Place,
  type StepFlags,
} from '../rotation-options.ts';
import { chainPicture, showRotation, summaryLine } from '../rotation-picture.ts';
import { follow } from '../rotation-progress.ts';
import { compromiseCommands } from './compromise.ts';

/** Commands for the life of authorities. They go below `meshca authority`, which must exist. */
export function rotationCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const authority = program.commands.find((command) => command.name() === 'authority');
  if (authority === undefined) throw new Error('the command authority does not exist yet');
  rotateCommand(authority, context, outcome);
  prepareCommand(authority, context, outcome);
  publishCommand(authority, context, outcome);
  activateCommand(authority, context, outcome);
  withdrawCommand(authority, context, outcome);
  compromiseCommands(authority, context, outcome);
  acceptClockCommand(authority, context, outcome);
  statusCommand(authority, context, outcome);
}

interface RotateFlags extends Omit<StepFlags, 'kind'>, Place, CanaryFlags {
  readonly kind?: readonly string[];
  readonly until: string;
}

function rotateCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('rotate')
    .description(
      'replace an authority after every consumer has confirmed the new one; a new root gets a new intermediate',
    )
    .option(
      '--kind <kind>',
      'repeat: root (default), issuing, jwt, names-root or names-issuing; several are replaced ' +
        'one after the other',
      collect,
    )
    .option('--reason <text>', 'the reason, for the audit record')
    .option('--force', 'activate without proof; needs --reason')
    .option('--share <part>', 'the share of each class of consumers that must have confirmed, 0..1')
    .option(
      '--canary <shares>',
      'issuing only: shares of the nodes that the new authority signs for first, for example 10% or 0.1,0.5',
    )
    .option(
      '--canary-selector <selector>',
      'issuing only, repeat: the new authority signs first for nodes with this selector (type:value)',
      collect,
    )
    .option('--hold <duration>', 'the time for which each step is watched', '10m')
    .option('--max-failures <part>', 'the share of failed handshakes that stops the canary', '0.01')
    .option(
      '--region <name>',
      'issuing only: the new authority signs only on servers of this region, beside the others',
    )
    .option('--replica <name>', 'issuing only: the new authority signs only on this replica')
    .option(
      '--until <state>',
      'wait until active (default), or until retired: the last leaf of the old authority has expired',
      'active',
    )
    .option('--no-wait', 'do not wait for the end')
    .action(action<RotateFlags>(context, outcome, (options) => rotate(context, options)));
}

async function rotate(context: CliContext, options: RotateFlags & GlobalOptions): Promise<void> {
  if (options.until !== 'active' && options.until !== 'retired')
    throw new PkiError('INVALID_REQUEST', '--until must be active or retired');
  const kinds = options.kind ?? ['root'];
  const place = placeOf(options, kinds);
  const canary = canaryOf(options);
  let status: RotationStatus__Output | undefined;
  for (const kind of kinds) {
    const begun = await withAdmin(context, options, 'Authorities', (calls) =>
      calls.call('RotateAuthorities', {
        kind,
        reason: options.reason ?? '',
        stopAfter: '',
        force: options.force ?? false,
        ...sharesOf(options),
        ...canary,
        ...place,
      }),
    );
    const goal = rotated(context, begun, kind, options.until === 'retired');
    status = options.wait ? await follow(context, options, goal) : begun;
  }
  if (status !== undefined) showRotation(context, options, status);
}

function prepareCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('prepare')
    .description(
      'make a successor, with its key in the token and its certificate; it is not handed out yet',
    )
    .option('--kind <kind>', 'root, issuing, jwt, names-root, names-issuing', 'issuing')
    .option('--region <name>', 'issuing only: it signs only on servers of this region')
    .option('--replica <name>', 'issuing only: it signs only on this replica')
    .option('--reason <text>', 'the reason, for the audit record')
    .option('--no-wait', 'do not wait for the end')
    .action(
      action<StepFlags & Place & { kind: string }>(context, outcome, async (options) => {
        const begun = await withAdmin(context, options, 'Authorities', (calls) =>
          calls.call('RotateAuthorities', {
            kind: options.kind,
            reason: options.reason ?? '',
            stopAfter: 'prepared',
            force: false,
            ...placeOf(options, [options.kind]),
          }),
        );
        showRotation(
          context,
          options,
          options.wait
            ? await follow(
                context,
                options,
                arrives(context, successorOf(begun, options.kind), 'prepared'),
              )
            : begun,
        );
      }),
    );
}

function publishCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  withStepOptions(
    authority
      .command('publish [id]')
      .description('hand out a prepared authority, so that consumers can confirm it'),
  ).action(
    action<ContinueFlags>(context, outcome, (options, [id]) =>
      proceed(context, options, id, 'published'),
    ),
  );
}

function activateCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  withStepOptions(
    authority
      .command('activate [id]')
      .description('let a published authority sign after every consumer has confirmed it')
      .option(
        '--standby',
        'activate the authorities of every kind in the standby token, when the issuing token is lost',
      )
      .option(
        '--disregard <agent>',
        'repeat, during a canary: ignore handshake reports of this agent; needs --reason',
        collect,
      ),
  ).action(
    action<ContinueFlags & { standby?: boolean }>(context, outcome, (options, [id]) =>
      options.standby ? activateStandby(context, options) : proceed(context, options, id, 'active'),
    ),
  );
}

interface ContinueFlags extends StepFlags {
  readonly kind: string;
  readonly disregard?: readonly string[];
}

const withStepOptions = (command: Command): Command =>
  command
    .option(
      '--kind <kind>',
      'instead of the ID: the rotation of this kind that is under way',
      'issuing',
    )
    .option('--reason <text>', 'the reason, for the audit record')
    .option('--force', 'activate without proof; needs --reason')
    .option('--share <part>', 'the share of each class of consumers that must have confirmed, 0..1')
    .option('--no-wait', 'do not wait for the end');

/** Continues a rotation until its successor has reached the state. */
async function proceed(
  context: CliContext,
  options: ContinueFlags & GlobalOptions,
  id: string | undefined,
  state: 'published' | 'active',
): Promise<void> {
  const successorId =
    id === undefined
      ? successorOf(await presentStatus(context, options), options.kind)
      : await authorityId(context, options, id);
  const begun = await continueRotation(
    context,
    options,
    successorId,
    state === 'published' ? 'published' : '',
  );
  const status = options.wait
    ? await follow(context, options, arrives(context, successorId, state))
    : begun;
  showRotation(context, options, status);
}

const presentStatus = (
  context: CliContext,
  options: GlobalOptions,
): Promise<RotationStatus__Output> =>
  withAdmin(context, options, 'Authorities', (calls) => calls.call('GetRotationStatus', {}));

async function continueRotation(
  context: CliContext,
  options: StepFlags & Pick<ContinueFlags, 'disregard'> & GlobalOptions,
  id: string,
  stopAfter: '' | 'published',
): Promise<RotationStatus__Output> {
  const disregardedAgents: string[] = [];
  for (const name of options.disregard ?? [])
    disregardedAgents.push(await agentId(context, options, name));
  return withAdmin(context, options, 'Authorities', (calls) =>
    calls.call('ContinueRotation', {
      id,
      kind: '',
      stopAfter,
      force: options.force ?? false,
      reason: options.reason ?? '',
      disregardedAgents,
      ...sharesOf(options),
    }),
  );
}

/**
 * Activates the newest authority of each kind in the standby token. It starts all, then waits for
 * all.
 */
async function activateStandby(
  context: CliContext,
  options: StepFlags & GlobalOptions,
): Promise<void> {
  const present = await presentStatus(context, options);
  const standbys = new Map(
    present.authorities.flatMap(({ authority }) =>
      authority?.token === 'standby' && authority.state === 'published'
        ? [[authority.kind, authority.id]]
        : [],
    ),
  );
  if (standbys.size === 0)
    throw new PkiError('NOT_FOUND', 'no authority stands by', {
      next: 'Configure hsm.standby; see meshca authority status.',
    });
  let status = present;
  for (const id of standbys.values()) status = await continueRotation(context, options, id, '');
  if (options.wait)
    for (const id of standbys.values())
      status = await follow(context, options, arrives(context, id, 'active'));
  showRotation(context, options, status);
}

function withdrawCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('withdraw <id>')
    .description('withdraw an authority that has not signed')
    .option('--reason <text>', 'the reason, for the audit record')
    .action(
      action<{ reason?: string }>(context, outcome, async (options, [id]) => {
        const authority = await authorityId(context, options, id as string);
        showRotation(
          context,
          options,
          await withAdmin(context, options, 'Authorities', (calls) =>
            calls.call('WithdrawAuthority', { id: authority, reason: options.reason ?? '' }),
          ),
        );
      }),
    );
}

function acceptClockCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('accept-clock')
    .description('accept the present wall clock after a jump')
    .requiredOption('--reason <text>', 'the reason, for the audit record')
    .action(
      action<{ reason: string }>(context, outcome, async (options) => {
        showRotation(
          context,
          options,
          await withAdmin(context, options, 'Authorities', (calls) =>
            calls.call('AcceptClock', { reason: options.reason }),
          ),
        );
      }),
    );
}

function statusCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('status')
    .description(
      'show the chain of authorities: which sign, which are trusted, who has confirmed, what happens next',
    )
    .option('--watch', 'follow the changes until an interruption')
    .option('--all', 'include ended authorities')
    .action(
      action<{ watch?: boolean; all?: boolean }>(context, outcome, async (options) => {
        if (options.watch) {
          // an interruption is the normal end
          await follow(context, options, {
            reached: () => false,
            line: (status) =>
              status.operations
                .map(({ successorId }) => summaryLine(status, successorId, context.now()))
                .join('; ') || 'nothing is under way',
          }).catch((thrown: unknown) => {
            if (!context.signal.aborted) throw thrown;
          });
          return;
        }
        const status = await withAdmin(context, options, 'Authorities', (calls) =>
          calls.call('GetRotationStatus', {}),
        );
        if (options.json) json(context, status);
        else
          context.out(
            `${chainPicture(status, { now: context.now(), columns: context.terminal.isTerminal ? context.terminal.columns : 0, color: context.terminal.color, all: options.all ?? false, maximumLaggards: 50 }).join('\n')}\n`,
          );
      }),
    );
}
