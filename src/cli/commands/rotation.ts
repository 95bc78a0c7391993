import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import type { RotationStatus__Output } from '../../common/wire/generated/meshca/admin/v1/RotationStatus.ts';
import { action, collect, type GlobalOptions, type Outcome } from '../action.ts';
import { authorityId } from '../authority-id.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { instant, json, parseDuration } from '../output.ts';
import { chainPicture, shortId, summaryLine } from '../rotation-picture.ts';
import { follow, type Goal } from '../rotation-progress.ts';

interface StepFlags {
  readonly kind?: string;
  readonly reason?: string;
  readonly force?: boolean;
  readonly share?: string;
  readonly wait: boolean;
}

interface Place {
  readonly region?: string;
  readonly replica?: string;
}

const ended = ['retired', 'revoked', 'discarded', 'withdrawn'];
const order = ['preparing', 'prepared', 'published', 'active', 'old'];

/** The life of authorities: below `meshca authority`, which must exist. */
export function rotationCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const authority = program.commands.find((each) => each.name() === 'authority');
  if (authority === undefined) throw new Error('the command authority is not there yet');

  authority
    .command('rotate')
    .description(
      'put a new authority in the place of the present one, once everybody is proven to hold it; a root brings a new intermediate with it',
    )
    .option(
      '--kind <kind>',
      'root (default), issuing, jwt; repeat for one after the other',
      collect,
    )
    .option('--reason <text>', 'for the record')
    .option('--force', 'without proof; needs --reason')
    .option('--share <part>', 'part of each class that must have confirmed, 0..1')
    .option(
      '--canary <shares>',
      'issuing only: parts of the nodes that it signs for first, for example 10% or 0.1,0.5',
    )
    .option(
      '--canary-selector <selector>',
      'issuing only: it signs first for nodes with this selector (type:value); repeat for all of them',
      collect,
    )
    .option('--hold <duration>', 'how long each such part is watched', '10m')
    .option('--max-failures <part>', 'part of failed handshakes that stops it', '0.01')
    .option(
      '--region <name>',
      'issuing only: one that signs on servers of this region alone, beside the others',
    )
    .option('--replica <name>', 'issuing only: one that signs on this replica alone')
    .option(
      '--until <state>',
      'active (default), or retired: until the last leaf of the old one has expired',
      'active',
    )
    .option('--no-wait', 'return at once')
    .action(
      action<
        Omit<StepFlags, 'kind'> &
          Place & {
            kind?: readonly string[];
            canary?: string;
            canarySelector?: readonly string[];
            hold: string;
            maxFailures: string;
            until: string;
          }
      >(context, outcome, async (options) => {
        if (options.until !== 'active' && options.until !== 'retired')
          throw new PkiError('INVALID_REQUEST', '--until is active or retired');
        const kinds = options.kind ?? ['root'];
        const place = placeOf(options, kinds);
        const steps = canarySteps(options.canary, options.canarySelector);
        const canary =
          steps.length === 0
            ? {}
            : {
                canary: {
                  steps,
                  holdSeconds: parseDuration(options.hold),
                  maximumFailureRate: Number(options.maxFailures),
                },
              };
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
          status = options.wait
            ? await follow(
                context,
                options,
                rotated(context, begun, kind, options.until === 'retired'),
              )
            : begun;
        }
        if (status !== undefined) finish(context, options, status);
      }),
    );

  authority
    .command('prepare')
    .description('make a successor: key in the token, certificate; nobody is told yet')
    .option('--kind <kind>', 'root, issuing, jwt', 'issuing')
    .option('--region <name>', 'issuing only: signs on servers of this region alone')
    .option('--replica <name>', 'issuing only: signs on this replica alone')
    .option('--reason <text>', 'for the record')
    .option('--no-wait', 'return at once')
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
        finish(
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

  for (const [name, state, description] of [
    [
      'publish',
      'published',
      'hand a prepared authority out, so that everybody can come to trust it',
    ],
    ['activate', 'active', 'let a published authority sign, once everybody is proven to hold it'],
  ] as const) {
    const command = authority.command(`${name} [id]`).description(description);
    if (state === 'active')
      command.option(
        '--standby',
        'the authorities in the standby token, of every kind: when the issuing token is lost',
      );
    command
      .option('--kind <kind>', 'in place of the ID: the one under way', 'issuing')
      .option('--reason <text>', 'for the record')
      .option('--force', 'without proof; needs --reason')
      .option('--share <part>', 'part of each class that must have confirmed, 0..1')
      .option('--no-wait', 'return at once')
      .action(
        action<StepFlags & { kind: string; standby?: boolean }>(
          context,
          outcome,
          async (options, [id]) => {
            const present = await withAdmin(context, options, 'Authorities', (calls) =>
              calls.call('GetRotationStatus', {}),
            );
            if (options.standby) {
              await activateStandby(context, options, present);
              return;
            }
            const successorId =
              id !== undefined
                ? await authorityId(context, options, id)
                : successorOf(present, options.kind);
            const begun = await withAdmin(context, options, 'Authorities', (calls) =>
              calls.call('ContinueRotation', {
                id: successorId,
                kind: '',
                stopAfter: state === 'published' ? 'published' : '',
                force: options.force ?? false,
                reason: options.reason ?? '',
                ...sharesOf(options),
              }),
            );
            finish(
              context,
              options,
              options.wait
                ? await follow(context, options, arrives(context, successorId, state))
                : begun,
            );
          },
        ),
      );
  }

  authority
    .command('withdraw <id>')
    .description('take back an authority that has not signed')
    .option('--reason <text>', 'for the record')
    .action(
      action<{ reason?: string }>(context, outcome, async (options, [id]) => {
        const authority = await authorityId(context, options, id as string);
        finish(
          context,
          options,
          await withAdmin(context, options, 'Authorities', (calls) =>
            calls.call('WithdrawAuthority', { id: authority, reason: options.reason ?? '' }),
          ),
        );
      }),
    );
  authority
    .command('taint <id>')
    .description(
      'have everything replaced that it signed; where it is the last that signs, its successor is made first',
    )
    .requiredOption('--reason <text>', 'for the record')
    .option('--window <duration>', 'in which its leaves are replaced, spread')
    .option('--force', 'its successor signs without proof')
    .option('--no-wait', 'return at once')
    .action(
      action<{ reason: string; window?: string; force?: boolean; wait: boolean }>(
        context,
        outcome,
        async (options, [id]) => {
          const authority = await authorityId(context, options, id as string);
          const begun = await withAdmin(context, options, 'Authorities', (calls) =>
            calls.call('TaintAuthority', {
              id: authority,
              reason: options.reason,
              windowSeconds: options.window === undefined ? 0 : parseDuration(options.window),
              force: options.force ?? false,
            }),
          );
          finish(
            context,
            options,
            options.wait ? await follow(context, options, replaced(authority)) : begun,
          );
        },
      ),
    );
  authority
    .command('revoke <id>')
    .description('a tainted authority is trusted no more; refused while leaves of it are live')
    .requiredOption('--reason <text>', 'for the record')
    .option('--force', 'whatever still is live')
    .action(
      action<{ reason: string; force?: boolean }>(context, outcome, async (options, [id]) => {
        const authority = await authorityId(context, options, id as string);
        finish(
          context,
          options,
          await withAdmin(context, options, 'Authorities', (calls) =>
            calls.call('RevokeAuthority', {
              id: authority,
              reason: options.reason,
              force: options.force ?? false,
            }),
          ),
        );
      }),
    );
  authority
    .command('compromise <id>')
    .description(
      'its key is in other hands: everything below it is replaced, and its root as well unless every consumer enforces CRLs',
    )
    .requiredOption('--reason <text>', 'for the record')
    .option('--window <duration>', 'in which leaves are replaced, spread')
    .option('--force', 'successors sign without proof')
    .option('--dry-run', 'say what would be done')
    .option('--no-wait', 'return at once')
    .action(
      action<{ reason: string; window?: string; force?: boolean; dryRun?: boolean; wait: boolean }>(
        context,
        outcome,
        async (options, [id]) => {
          const request = {
            id: await authorityId(context, options, id as string),
            reason: options.reason,
            windowSeconds: options.window === undefined ? 0 : parseDuration(options.window),
            force: options.force ?? false,
          };
          const plan = await withAdmin(context, options, 'Authorities', (calls) =>
            calls.call('PlanCompromise', request),
          );
          const said = [
            `tainted: ${plan.tainted.map(shortId).join(', ')}${plan.replacesRoot ? ' (the root is replaced and leaves the bundle: a CRL would not reach everybody)' : ''}`,
            `${plan.consumersEnforcingCrl} of ${plan.consumers} consumers enforce CRLs`,
            `${plan.live} live leaves are replaced, ${plan.liveUnreported} of them at holders that can't report`,
            `what a thief signs is believed until the root has left the bundle: at the latest ${instant(plan.exposedUntil)}`,
          ];
          if (!options.json) context.out(`${said.join('\n')}\n`);
          if (options.dryRun) {
            if (options.json) json(context, plan);
            return;
          }
          const begun = await withAdmin(context, options, 'Authorities', (calls) =>
            calls.call('CompromiseAuthority', request),
          );
          const wanted = begun.tainted;
          const goal: Goal = {
            reached: (status) => wanted.every((each) => stateOf(status, each) === 'revoked'),
            line: (status) => wanted.map((each) => replaced(each).line(status)).join('; '),
          };
          const status = options.wait ? await follow(context, options, goal) : begun.status;
          if (status !== null) finish(context, options, status);
        },
      ),
    );
  authority
    .command('accept-clock')
    .description('the wall clock is right as it is now, after a jump')
    .requiredOption('--reason <text>', 'for the record')
    .action(
      action<{ reason: string }>(context, outcome, async (options) => {
        finish(
          context,
          options,
          await withAdmin(context, options, 'Authorities', (calls) =>
            calls.call('AcceptClock', { reason: options.reason }),
          ),
        );
      }),
    );
  authority
    .command('status')
    .description('the chain: who signs, who is trusted, who has confirmed, what happens next')
    .option('--watch', 'until it is stopped')
    .option('--all', 'ended authorities too')
    .action(
      action<{ watch?: boolean; all?: boolean }>(context, outcome, async (options) => {
        if (options.watch) {
          // to be stopped is how it ends
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

/** All kinds are asked for before the first is begun. */
function placeOf({ region = '', replica = '' }: Place, kinds: readonly string[]): Required<Place> {
  if ((region !== '' || replica !== '') && kinds.some((kind) => kind !== 'issuing'))
    throw new PkiError('INVALID_REQUEST', '--region and --replica go with --kind issuing alone');
  return { region, replica };
}

/** Nodes by selector first, then by share. */
function canarySteps(
  shares: string | undefined,
  selectors: readonly string[] | undefined,
): { share: number; selectors: string[] }[] {
  return [
    ...(selectors === undefined ? [] : [{ share: 0, selectors: [...selectors] }]),
    ...(shares ?? '')
      .split(',')
      .filter((text) => text !== '')
      .map((text) => {
        const share = text.endsWith('%') ? Number(text.slice(0, -1)) / 100 : Number(text);
        if (!(share > 0 && share <= 1))
          throw new PkiError(
            'INVALID_REQUEST',
            `--canary ${JSON.stringify(text)} is neither a share (0.1) nor a percentage (10%)`,
          );
        return { share, selectors: [] };
      }),
  ];
}

/** The newest of each kind; all are told first, and then waited for. */
async function activateStandby(
  context: CliContext,
  options: StepFlags & GlobalOptions,
  present: RotationStatus__Output,
): Promise<void> {
  const found = new Map(
    present.authorities.flatMap(({ authority }) =>
      authority?.token === 'standby' && authority.state === 'published'
        ? [[authority.kind, authority.id]]
        : [],
    ),
  );
  if (found.size === 0)
    throw new PkiError('NOT_FOUND', 'no authority stands by', {
      next: 'Configure hsm.standby; see meshca authority status.',
    });
  let status = present;
  for (const id of found.values())
    status = await withAdmin(context, options, 'Authorities', (calls) =>
      calls.call('ContinueRotation', {
        id,
        kind: '',
        stopAfter: '',
        force: options.force ?? false,
        reason: options.reason ?? '',
        ...sharesOf(options),
      }),
    );
  if (options.wait)
    for (const id of found.values())
      status = await follow(context, options, arrives(context, id, 'active'));
  finish(context, options, status);
}

function finish(context: CliContext, options: GlobalOptions, status: RotationStatus__Output): void {
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

const stateOf = (status: RotationStatus__Output, id: string): string | undefined =>
  status.authorities.find(({ authority }) => authority?.id === id)?.authority?.state;

function successorOf(status: RotationStatus__Output, kind: string): string {
  const operation = status.operations.find((each) => each.kind === kind);
  if (operation === undefined)
    throw new PkiError('NOT_FOUND', `no rotation of kind ${kind} is under way`, {
      next: 'Begin one: meshca authority prepare, or rotate.',
    });
  return operation.successorId;
}

/** The authority is at that state or past it. */
function arrives(context: CliContext, id: string, wanted: string): Goal {
  return {
    reached: (status) => {
      const state = stateOf(status, id);
      if (state !== undefined && (ended.includes(state) || state === 'tainted'))
        throw new PkiError('CONFLICT', `authority ${id} has become ${state}`, {
          next: 'See meshca authority status.',
        });
      return state !== undefined && order.indexOf(state) >= order.indexOf(wanted);
    },
    line: (status) => summaryLine(status, id, context.now()),
  };
}

/**
 * Its successor signs, for a root also an intermediate under it, and the ones before sign no more
 * (or are gone).
 */
function rotated(
  context: CliContext,
  begun: RotationStatus__Output,
  kind: string,
  retired: boolean,
): Goal {
  const operation = begun.operations.find((each) => each.kind === kind);
  if (operation === undefined) return { reached: () => true, line: () => 'done' };
  const { successorId, targets } = operation;
  const active = arrives(context, successorId, 'active');
  const gone = (status: RotationStatus__Output, id: string): boolean => {
    const state = stateOf(status, id);
    return state === undefined || ended.includes(state) || (!retired && state !== 'active');
  };
  return {
    reached: (status) => {
      if (!active.reached(status) || !targets.every((id) => gone(status, id))) return false;
      if (kind !== 'root') return true;
      const issuers = status.authorities.flatMap(({ authority }) =>
        authority?.kind === 'issuing' ? [authority] : [],
      );
      return (
        issuers.some(({ state, parentId }) => state === 'active' && parentId === successorId) &&
        issuers
          .filter(({ parentId }) => targets.includes(parentId))
          .every(({ id }) => gone(status, id))
      );
    },
    line: (status) => {
      const below = status.operations.find((each) => each.kind === 'issuing');
      return kind === 'root' && below !== undefined && active.reached(status)
        ? summaryLine(status, below.successorId, context.now())
        : summaryLine(status, successorId, context.now());
    },
  };
}

/** Tainted, and nothing of it is live any more. */
function replaced(id: string): Goal {
  const found = (status: RotationStatus__Output) =>
    status.authorities.find(({ authority }) => authority?.id === id);
  return {
    reached: (status) =>
      ['tainted', 'revoked'].includes(stateOf(status, id) ?? '') &&
      (found(status)?.live ?? 0) === 0,
    line: (status) =>
      `${shortId(id)} ${stateOf(status, id) ?? 'unknown'}, ${found(status)?.live ?? 0} live leaves`,
  };
}

function sharesOf(options: { readonly share?: string }): {
  shares?: { proven: number; inferred: number; unprovable: number };
} {
  if (options.share === undefined) return {};
  const share = Number(options.share);
  if (!(share >= 0 && share <= 1))
    throw new PkiError(
      'INVALID_REQUEST',
      `--share ${JSON.stringify(options.share)} is not between 0 and 1`,
    );
  return { shares: { proven: share, inferred: share, unprovable: share } };
}
