import type { Command } from 'commander';
import { action, collect, type Outcome } from '../action.ts';
import type { CliContext } from '../context.ts';
import { facts, instant, json } from '../output.ts';

/** Offline ceremonies, on a machine with a token and no server. */
export function ceremonyCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const ceremony = program
    .command('ceremony')
    .description('offline root: sign by a written plan, and write a transcript');
  ceremony
    .command('run <plan>')
    .description('run the ceremony of a plan (YAML)')
    .option('--dry-run', 'read, build, lint and show everything, but sign nothing')
    .option('--yes', 'do not ask')
    .action(
      action<{ dryRun?: boolean; yes?: boolean }>(context, outcome, async (options, [plan]) => {
        const result = await context.dependencies.runCeremony({
          planPath: plan as string,
          dryRun: options.dryRun === true,
          yes: options.yes === true,
          show: (shown) => {
            if (options.json !== true) facts(context, rows(shown));
          },
        });
        if (options.json) json(context, { ...result, dryRun: options.dryRun === true });
        else if (result.files === undefined) context.out('dry run: nothing was signed\n');
        else
          facts(context, [
            ['written', result.files.out],
            ['transcript', result.files.transcript],
            ['sha256', result.sha256 ?? ''],
            ['signed by', result.signer ?? ''],
            ['next', next[result.kind] ?? 'archive plan and transcript'],
          ]);
      }),
    );
  verifyCommand(ceremony, context, outcome);
}

function verifyCommand(ceremony: Command, context: CliContext, outcome: Outcome): void {
  ceremony
    .command('verify <transcript>')
    .description('verify an archived transcript')
    .option('--signer <file>', 'certificate of the root that must have signed it (PEM)')
    .option('--file <file>', 'repeat: a file that must be named in the transcript', collect)
    .action(
      action<{ signer?: string; file?: readonly string[] }>(
        context,
        outcome,
        async (options, [path]) => {
          const checked = await context.dependencies.checkTranscript({
            path: path as string,
            filePaths: options.file ?? [],
            ...(options.signer === undefined ? {} : { signerPath: options.signer }),
          });
          if (options.json) {
            json(context, checked);
            return;
          }
          const of = (kind: string) =>
            checked.records.find((record) => record['kind'] === kind) ?? {};
          facts(context, [
            ['transcript', `complete, ${checked.records.length} records`],
            ['ceremony', `${text(of('plan')['ceremony'])} for ${text(of('plan')['trustDomain'])}`],
            ['held', text(of('plan')['at'])],
            ['plan', text(of('plan')['sha256'])],
            ['signed object', text(of('signed')['sha256'])],
            ['signed by', checked.signer],
            ...checked.files.map((file) => ['file', `${file} is named in it`] as const),
            [
              'trust',
              checked.signerKnown
                ? 'the signer is the root that you gave'
                : 'the transcript names the signer itself: compare "signed by" with the root ' +
                  'that you know, or give --signer',
            ],
          ]);
        },
      ),
    );
}

const next: Readonly<Record<string, string>> = {
  root: 'the ceremony of its first CRL: without it, the servers below this root hand out no CRLs',
  intermediate: 'at the server: meshca authority import ID --chain FILE',
  crl: 'at the server: meshca authority import-crl FILE; run the next ceremony well before the CRL ends',
};

const text = (value: unknown): string =>
  typeof value === 'string' ? value : value === undefined ? '-' : JSON.stringify(value);

const rows = (shown: Readonly<Record<string, unknown>>): (readonly [string, string])[] =>
  Object.entries(shown).map(([name, value]) => [
    name,
    typeof value === 'number' && /^not|Update$/.test(name) ? instant(value) : text(value),
  ]);
