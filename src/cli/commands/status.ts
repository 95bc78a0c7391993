import type { Command } from 'commander';
import { action, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { facts, instant, json, until } from '../output.ts';

/** The state of the server. */
export function statusCommand(program: Command, context: CliContext, outcome: Outcome): void {
  program
    .command('status')
    .description('the server: ready or why not, HSM, agents')
    .action(
      action(context, outcome, async (options) => {
        const status = await withAdmin(context, options, 'Server', (calls) =>
          calls.call('GetStatus', {}),
        );
        if (options.json) {
          json(context, status);
          return;
        }
        facts(context, [
          ['server', `meshca ${status.version}`],
          ['trust domain', status.trustDomain],
          ['ready', status.ready ? 'yes' : `no\n${status.reasons.join('\n')}`],
          ['hsm', status.hsmStatus],
          ['agents connected', String(status.agentsConnected)],
          ['position', `${status.epoch} / ${status.revision}`],
          ['unfinished intents', String(status.unfinishedIntents)],
          [
            'server certificate',
            status.serverCertificateNotAfter === 0
              ? '-'
              : `ends ${instant(status.serverCertificateNotAfter)} (${until(status.serverCertificateNotAfter, context.now())})`,
          ],
          ['started', instant(status.startedAt)],
        ]);
      }),
    );
}
