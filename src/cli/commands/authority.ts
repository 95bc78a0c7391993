import type { Command } from 'commander';
import { certificatesToPem } from '../../common/x509/index.ts';
import { action, type Outcome } from '../action.ts';
import { authorityId } from '../authority-id.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { facts, instant, json, until } from '../output.ts';
import { table } from '../table.ts';

/** The authorities that there are. */
export function authorityCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const authority = program
    .command('authority')
    .description('roots, issuing intermediates and JWT authorities');
  listCommand(authority, context, outcome);
  showCommand(authority, context, outcome);
}

function listCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('list')
    .description('authorities')
    .option('--kind <kind>', 'root, issuing, jwt or log')
    .option('--state <state>', 'for example active')
    .action(
      action<{ kind?: string; state?: string }>(context, outcome, async (options) => {
        const { authorities } = await withAdmin(context, options, 'Authorities', (calls) =>
          calls.call('ListAuthorities', {
            page: { size: 0, token: '' },
            kind: options.kind ?? '',
            state: options.state ?? '',
          }),
        );
        if (options.json) {
          json(context, authorities);
          return;
        }
        table(
          context,
          [
            { title: 'ID', value: (each) => each.id, short: 'id' },
            { title: 'KIND', value: (each) => each.kind },
            { title: 'STATE', value: (each) => each.state },
            { title: 'KEY', value: (each) => each.keyType, priority: 3 },
            { title: 'TOKEN', value: (each) => each.token, priority: 4 },
            { title: 'ENDS', value: (each) => until(each.notAfter, context.now()) },
            {
              title: 'LIVE LEAVES',
              value: (each) => String(each.liveCertificates),
              align: 'right',
              priority: 2,
            },
          ],
          authorities,
          'no authorities',
        );
      }),
    );
}

function showCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('show <id>')
    .description('one authority')
    .option('--pem', 'its certificate alone, as PEM')
    .action(
      action<{ pem?: boolean }>(context, outcome, async (options, [id]) => {
        const found = await withAdmin(context, options, 'Authorities', async (calls) =>
          calls.call('GetAuthority', { id: await authorityId(context, options, id as string) }),
        );
        if (options.pem) context.out(certificatesToPem([found.certificateDer]));
        else if (options.json) json(context, found);
        else {
          facts(context, [
            ['id', found.id],
            ['kind', found.kind],
            ['state', `${found.state} (version ${found.version})`],
            ['key', `${found.keyType}, CKA_ID ${found.ckaId} in the ${found.token} token`],
            ['subject key id', found.subjectKeyId || '-'],
            ['parent', found.parentId || '-'],
            [
              'valid',
              `${instant(found.notBefore)} to ${instant(found.notAfter)} (ends ${until(found.notAfter, context.now())})`,
            ],
            ['created', instant(found.createdAt)],
            ['activated', instant(found.activatedAt)],
            ['live leaves', String(found.liveCertificates)],
            ['scope', found.scopeJson],
          ]);
        }
      }),
    );
}
