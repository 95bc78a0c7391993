import type { Command } from 'commander';
import { action, type Outcome } from '../action.ts';
import { authorityId } from '../authority-id.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { instant, json, parseDuration } from '../output.ts';
import { replaced, stateOf } from '../rotation-goals.ts';
import { unreplacedLines } from '../unreplaced-owners.ts';
import { shortId, showRotation } from '../rotation-picture.ts';
import { follow, type Goal } from '../rotation-progress.ts';

/** Commands that end trust in an authority. They go below `meshca authority`. */
export function compromiseCommands(
  authority: Command,
  context: CliContext,
  outcome: Outcome,
): void {
  taintCommand(authority, context, outcome);
  revokeCommand(authority, context, outcome);
  compromiseCommand(authority, context, outcome);
  unreplacedCommand(authority, context, outcome);
}

function taintCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('taint <id>')
    .description(
      'replace everything that an authority signed; if no other authority signs, make its successor first',
    )
    .requiredOption('--reason <text>', 'the reason, for the audit record')
    .option('--window <duration>', 'the time over which its leaves are replaced')
    .option('--force', 'let its successor sign without proof')
    .option('--no-wait', 'do not wait for the end')
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
          showRotation(
            context,
            options,
            options.wait ? await follow(context, options, replaced(authority)) : begun,
          );
        },
      ),
    );
}

function revokeCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('revoke <id>')
    .description('end the trust in a tainted authority; refused while its leaves are live')
    .requiredOption('--reason <text>', 'the reason, for the audit record')
    .option('--force', 'revoke it even while leaves are live')
    .action(
      action<{ reason: string; force?: boolean }>(context, outcome, async (options, [id]) => {
        const authority = await authorityId(context, options, id as string);
        const force = options.force ?? false;
        const { cutOff, status } = await withAdmin(
          context,
          options,
          'Authorities',
          async (calls) => ({
            cutOff: force ? await calls.call('ListUnreplaced', { id: authority }) : undefined,
            status: await calls.call('RevokeAuthority', {
              id: authority,
              reason: options.reason,
              force,
            }),
          }),
        );
        if (cutOff !== undefined && !options.json)
          context.out(
            unreplacedLines(cutOff, context.now())
              .map((line) => `${line}\n`)
              .join(''),
          );
        showRotation(context, options, status);
      }),
    );
}

function unreplacedCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('unreplaced <id>')
    .description(
      'count the certificates of an authority, and of those below it, that were not replaced, ' +
        'by owner: who is cut off when it is revoked',
    )
    .action(
      action<Record<never, never>>(context, outcome, async (options, [id]) => {
        const authority = await authorityId(context, options, id as string);
        const report = await withAdmin(context, options, 'Authorities', (calls) =>
          calls.call('ListUnreplaced', { id: authority }),
        );
        if (options.json) json(context, report);
        else context.out(`${unreplacedLines(report, context.now()).join('\n')}\n`);
      }),
    );
}

function compromiseCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('compromise <id>')
    .description(
      'for a stolen key: replace everything below the authority, and its root as well ' +
        'unless every consumer enforces CRLs',
    )
    .requiredOption('--reason <text>', 'the reason, for the audit record')
    .option('--window <duration>', 'the time over which leaves are replaced')
    .option('--force', 'let successors sign without proof')
    .option('--dry-run', 'show what would be done; change nothing')
    .option('--no-wait', 'do not wait for the end')
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
            'tainted: ' +
              `${plan.tainted.map(shortId).join(', ')}${plan.replacesRoot ? ' (the root is replaced and leaves the bundle: a CRL would not reach everybody)' : ''}`,
            `${plan.consumersEnforcingCrl} of ${plan.consumers} consumers enforce CRLs`,
            `${plan.live} live leaves are replaced, ${plan.liveUnreported} of them with holders that can not report`,
            'consumers trust what a thief signs until the root has left the bundle: at the ' +
              `latest ${instant(plan.exposedUntil)}`,
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
            reached: (status) => wanted.every((id) => stateOf(status, id) === 'revoked'),
            line: (status) => wanted.map((id) => replaced(id).line(status)).join('; '),
          };
          const status = options.wait ? await follow(context, options, goal) : begun.status;
          if (status !== null) showRotation(context, options, status);
        },
      ),
    );
}
