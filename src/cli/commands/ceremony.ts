import type { Command } from 'commander';
import { action, collect, type Outcome } from '../action.ts';
import type { CliContext } from '../context.ts';
import { facts, instant, json } from '../output.ts';

/** Offline ceremonies: on a machine with nothing but the token. */
export function ceremonyCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const ceremony = program
    .command('ceremony')
    .description('offline root: sign what a written plan says, with a transcript');
  ceremony
    .command('run <plan>')
    .description('hold the ceremony of a plan (YAML)')
    .option('--dry-run', 'read, build, lint and show everything; sign nothing')
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
    .description('check an archived transcript')
    .option('--signer <file>', 'certificate of the root that must have signed it (PEM)')
    .option('--file <file>', 'repeat: a file that must stand in it', collect)
    .action(
      action<{ signer?: string; file?: readonly string[] }>(
        context,
        outcome,
        async (options, [path]) => {
          const found = await context.dependencies.checkTranscript({
            path: path as string,
            filePaths: options.file ?? [],
            ...(options.signer === undefined ? {} : { signerPath: options.signer }),
          });
          if (options.json) {
            json(context, found);
            return;
          }
          const of = (kind: string) =>
            found.records.find((record) => record['kind'] === kind) ?? {};
          facts(context, [
            ['transcript', `whole, ${found.records.length} records`],
            ['ceremony', `${text(of('plan')['ceremony'])} for ${text(of('plan')['trustDomain'])}`],
            ['held', text(of('plan')['at'])],
            ['plan', text(of('plan')['sha256'])],
            ['signed object', text(of('signed')['sha256'])],
            ['signed by', found.signer],
            ...found.files.map((file) => ['file', `${file} stands in it`] as const),
            [
              'trust',
              found.signerKnown
                ? 'the signer is the root that you gave'
                : 'the signer is whoever the transcript says: compare "signed by" with the root that you know, or give --signer',
            ],
          ]);
        },
      ),
    );
}

const next: Readonly<Record<string, string>> = {
  root: 'the ceremony of its first CRL: without one the servers below it hand out no CRLs',
  intermediate: 'at the server: meshca authority import ID --chain FILE',
  crl: 'at the server: meshca authority import-crl FILE; hold the next one well before it ends',
};

const text = (value: unknown): string =>
  typeof value === 'string' ? value : value === undefined ? '-' : JSON.stringify(value);

const rows = (shown: Readonly<Record<string, unknown>>): (readonly [string, string])[] =>
  Object.entries(shown).map(([name, value]) => [
    name,
    typeof value === 'number' && /^not|Update$/.test(name) ? instant(value) : text(value),
  ]);
