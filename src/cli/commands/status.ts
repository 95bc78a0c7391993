import type { Command } from 'commander';
import type { OcspStanding__Output } from '../../common/wire/generated/meshca/admin/v1/OcspStanding.ts';
import type { ServerStatus__Output } from '../../common/wire/generated/meshca/admin/v1/ServerStatus.ts';
import { action, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { facts, instant, json, until } from '../output.ts';

/** `open` is the circuit before the token, which sounds as if the token could be used. */
const hsmTexts: Readonly<Record<string, string>> = {
  degraded: 'degraded: some signers do not reach the token',
  open: 'away: no signer reaches the token, and nothing is signed',
  fatal: 'stopped: nothing is signed until an operator restarts the server',
};

/** Shows the state of the server. */
export function statusCommand(program: Command, context: CliContext, outcome: Outcome): void {
  program
    .command('status')
    .description('show the server: whether it is ready, HSM, agents')
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
          ['hsm', hsmTexts[status.hsmStatus] ?? status.hsmStatus],
          ['agents connected', String(status.agentsConnected)],
          ['position', `${status.epoch} / ${status.revision}`],
          ['database', databaseText(status)],
          ['unfinished intents', String(status.unfinishedIntents)],
          [
            'server certificate',
            status.serverCertificateNotAfter === 0
              ? '-'
              : `ends ${instant(status.serverCertificateNotAfter)} ` +
                `(${until(status.serverCertificateNotAfter, context.now())})`,
          ],
          ...(status.ocsp === null
            ? []
            : [['OCSP answers', ocspText(status.ocsp, context.now())] as const]),
          ['started', instant(status.startedAt)],
        ]);
      }),
    );
}

function ocspText({ answers, nextUpdate, waiting }: OcspStanding__Output, now: number): string {
  const signed =
    nextUpdate === 0
      ? 'none'
      : `${answers} signed, good until ${instant(nextUpdate)} at least (${until(nextUpdate, now)})`;
  return Number(waiting) === 0 ? signed : `${signed}\n${waiting} leaves wait for theirs`;
}

/** Whether anybody outside this machine has shown that the database was not put back. */
function databaseText({
  recordsAtStart,
  recordsProven,
  provenBy,
}: Pick<ServerStatus__Output, 'recordsAtStart' | 'recordsProven' | 'provenBy'>): string {
  if (recordsAtStart === 0) return 'its log began with this start';
  return provenBy === ''
    ? `unproven until an agent or witness has shown a checkpoint from before the start (${recordsAtStart} records)`
    : `${recordsProven} of ${recordsAtStart} records at the start proven by ${provenBy}`;
}
