import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import { certificatesToPem } from '../../common/x509/index.ts';
import type { Certificate__Output } from '../../common/wire/generated/meshca/admin/v1/Certificate.ts';
import { action, allPages, limitOf, type GlobalOptions, type Outcome } from '../action.ts';
import { authorityId } from '../authority-id.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { facts, instant, json, parseDuration, table, until } from '../output.ts';

/** What there is: bundle, authorities, certificates, the server's state. */
export function inventoryCommands(program: Command, context: CliContext, outcome: Outcome): void {
  bundleCommands(program, context, outcome);
  authorityCommands(program, context, outcome);
  certificateCommands(program, context, outcome);
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

function bundleCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const bundle = program.command('bundle').description('the trust bundle');
  bundle
    .command('show')
    .description('the roots, as PEM')
    .option('--format <format>', 'pem, spiffe (JWKS document) or fingerprints', 'pem')
    .action(
      action<{ format: string }>(context, outcome, async (options) => {
        const found = await withAdmin(context, options, 'Authorities', (calls) =>
          calls.call('GetBundle', {}),
        );
        if (options.json)
          json(context, { ...found, bundleJson: JSON.parse(found.bundleJson) as unknown });
        else if (options.format === 'pem') context.out(found.rootsPem);
        else if (options.format === 'spiffe')
          context.out(`${JSON.stringify(JSON.parse(found.bundleJson), null, 2)}\n`);
        else if (options.format === 'fingerprints')
          context.out(`${found.fingerprints.join('\n')}\n`);
        else
          throw new PkiError(
            'INVALID_REQUEST',
            `--format ${JSON.stringify(options.format)} is none of pem, spiffe, fingerprints`,
          );
      }),
    );
}

function authorityCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const authority = program
    .command('authority')
    .description('roots, issuing intermediates and JWT authorities');
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
            { title: 'ID', value: (each) => each.id },
            { title: 'KIND', value: (each) => each.kind },
            { title: 'STATE', value: (each) => each.state },
            { title: 'KEY', value: (each) => each.keyType },
            { title: 'TOKEN', value: (each) => each.token },
            { title: 'ENDS', value: (each) => until(each.notAfter, context.now()) },
            {
              title: 'LIVE LEAVES',
              value: (each) => String(each.liveCertificates),
              align: 'right',
            },
          ],
          authorities,
          'no authorities',
        );
      }),
    );
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

interface CertificateFlags {
  readonly spiffeId?: string;
  readonly prefix?: string;
  readonly kind?: string;
  readonly state?: string;
  readonly holder?: string;
  readonly authority?: string;
  readonly entry?: string;
  readonly expiresWithin?: string;
  readonly live?: boolean;
  readonly order?: string;
  readonly limit?: string;
}

function certificateCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const certificate = program
    .command('certificate')
    .description('the inventory of everything that was issued');
  certificate
    .command('list')
    .description('certificates, by identity or by expiry')
    .option('--spiffe-id <id>', 'of exactly this identity')
    .option('--prefix <id>', 'of identities that begin so')
    .option('--kind <kind>', 'workload, agent, server, admin, delegated, authority')
    .option('--state <state>', 'intent, issued, withheld, refused, abandoned')
    .option('--holder <id>', 'held by this agent or client')
    .option('--authority <id>', 'signed by this authority')
    .option('--entry <id>', 'issued for this entry')
    .option('--expires-within <duration>', 'that end within so long')
    .option('--live', 'that have not ended yet')
    .option('--order <order>', 'created or expiry', 'created')
    .option('--limit <n>', 'at most so many', '100')
    .action(
      action<CertificateFlags>(context, outcome, async (options) => {
        const filter = {
          spiffeId: options.spiffeId ?? '',
          spiffeIdPrefix: options.prefix ?? '',
          kind: options.kind ?? '',
          state: options.state ?? '',
          holder: options.holder ?? '',
          authorityId:
            options.authority === undefined
              ? ''
              : await authorityId(context, options, options.authority),
          entryId: options.entry ?? '',
          expiresBefore:
            options.expiresWithin === undefined
              ? 0
              : context.now() + parseDuration(options.expiresWithin),
          expiresAfter: options.live || options.expiresWithin !== undefined ? context.now() : 0,
        };
        const found = await withAdmin(context, options, 'Certificates', (calls) =>
          allPages(context, limitOf(options), async (page) => {
            const { certificates, nextPageToken } = await calls.call('ListCertificates', {
              page,
              filter,
              order: options.order ?? 'created',
            });
            return { items: certificates, next: nextPageToken };
          }),
        );
        if (options.json) {
          json(context, found);
          return;
        }
        table(
          context,
          [
            { title: 'SERIAL', value: (each) => each.serial },
            { title: 'SPIFFE ID', value: (each) => each.spiffeId },
            { title: 'KIND', value: (each) => each.kind },
            { title: 'STATE', value: (each) => each.state },
            { title: 'CREATED', value: (each) => instant(each.createdAt) },
            { title: 'ENDS', value: (each) => until(each.notAfter, context.now()) },
            { title: 'HOLDER', value: (each) => each.holder },
          ],
          found,
          'no certificates',
        );
      }),
    );
  certificate
    .command('show <serial>')
    .description('one certificate')
    .option('--pem', 'the certificate alone, as PEM')
    .action(
      action<{ pem?: boolean }>(context, outcome, async (options, [serial]) => {
        const found = await withAdmin(context, options, 'Certificates', (calls) =>
          calls.call('GetCertificate', { serial: serial as string }),
        );
        showCertificate(context, options, found);
      }),
    );
  certificate
    .command('revoke <serial>')
    .description(
      'put a certificate of the revocable profile on the CRL; for a short-lived one, say what ends it',
    )
    .option(
      '--reason <reason>',
      'unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation, privilegeWithdrawn',
      'unspecified',
    )
    .action(
      action<{ reason: string }>(context, outcome, async (options, [serial]) => {
        showCertificate(
          context,
          options,
          await withAdmin(context, options, 'Certificates', (calls) =>
            calls.call('RevokeCertificate', { serial: serial as string, reason: options.reason }),
          ),
        );
      }),
    );
}

function showCertificate(
  context: CliContext,
  options: GlobalOptions & { readonly pem?: boolean },
  found: Certificate__Output,
): void {
  if (options.pem) {
    if (found.certificateDer.length === 0)
      throw new PkiError(
        'NOT_FOUND',
        `certificate ${found.serial} is in state ${found.state} and was never released`,
      );
    context.out(certificatesToPem([found.certificateDer]));
  } else if (options.json) json(context, found);
  else {
    facts(context, [
      ['serial', found.serial],
      ['sha256', found.sha256 || '-'],
      ['spiffe id', found.spiffeId],
      ['kind', `${found.kind}, profile ${found.profile}`],
      ['state', found.stateReason === '' ? found.state : `${found.state}: ${found.stateReason}`],
      ['entry', found.entryId || '-'],
      ['requester', found.requester],
      ['holder', found.holder],
      ['authority', found.authorityId],
      ['public key sha256', found.publicKeySha256],
      ['request id', found.requestId],
      ['created', instant(found.createdAt)],
      [
        'valid',
        `${instant(found.notBefore)} to ${instant(found.notAfter)} (ends ${until(found.notAfter, context.now())})`,
      ],
      ['replaced by', found.replacedBy || '-'],
      ['replacement confirmed', instant(found.replacementConfirmedAt)],
      [
        'revoked',
        found.revokedAt === 0 ? '-' : `${instant(found.revokedAt)}: ${found.revocationReason}`,
      ],
    ]);
  }
}
