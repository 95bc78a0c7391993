import type { Command } from 'commander';
import { certificatesToPem } from '../../common/x509/index.ts';
import { action, type Outcome } from '../action.ts';
import { authorityId } from '../authority-id.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { authorityStates } from '../option-values.ts';
import { facts, instant, json, until } from '../output.ts';
import { table } from '../table.ts';

/** Lists and shows authorities. */
export function authorityCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const authority = program
    .command('authority')
    .description('roots, issuing intermediates and JWT authorities; those of names too');
  listCommand(authority, context, outcome);
  showCommand(authority, context, outcome);
}

function listCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('list')
    .description('authorities')
    .option('--kind <kind>', 'root, issuing, jwt, names-root, names-issuing, log or ocsp')
    .option('--state <state>', authorityStates.join(', '))
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
            { title: 'ID', value: (row) => row.id, short: 'id' },
            { title: 'KIND', value: (row) => row.kind },
            { title: 'STATE', value: (row) => row.state },
            { title: 'KEY', value: (row) => row.keyType, priority: 3 },
            { title: 'TOKEN', value: (row) => row.token, priority: 4 },
            { title: 'ENDS', value: (row) => until(row.notAfter, context.now()) },
            {
              title: 'LIVE LEAVES',
              value: (row) => String(row.liveCertificates),
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
    .description('show one authority')
    .option('--pem', 'print only its certificate, as PEM')
    .action(
      action<{ pem?: boolean }>(context, outcome, async (options, [id]) => {
        const record = await withAdmin(context, options, 'Authorities', async (calls) =>
          calls.call('GetAuthority', { id: await authorityId(context, options, id as string) }),
        );
        if (options.pem) context.out(certificatesToPem([record.certificateDer]));
        else if (options.json) json(context, record);
        else {
          facts(context, [
            ['id', record.id],
            ['kind', record.kind],
            ['state', `${record.state} (version ${record.version})`],
            ['key', `${record.keyType}, CKA_ID ${record.ckaId} in the ${record.token} token`],
            ['subject key id', record.subjectKeyId || '-'],
            ['parent', record.parentId || '-'],
            [
              'valid',
              `${instant(record.notBefore)} to ${instant(record.notAfter)} (ends ` +
                `${until(record.notAfter, context.now())})`,
            ],
            ['created', instant(record.createdAt)],
            ['activated', instant(record.activatedAt)],
            ['live leaves', String(record.liveCertificates)],
            ['scope', record.scopeJson],
          ]);
        }
      }),
    );
}
