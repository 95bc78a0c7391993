import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import { certificatesToPem } from '../../common/x509/index.ts';
import type { Certificate__Output } from '../../common/wire/generated/meshca/admin/v1/Certificate.ts';
import { action, allPages, limitOf, type GlobalOptions, type Outcome } from '../action.ts';
import { authorityId } from '../authority-id.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { entryId, serialOf } from '../object-ids.ts';
import { facts, instant, json, parseDuration, until } from '../output.ts';
import { table } from '../table.ts';

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

/** The inventory of certificates. */
export function certificateCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const certificate = program
    .command('certificate')
    .description('the inventory of everything that was issued');
  listCommand(certificate, context, outcome);
  showCommand(certificate, context, outcome);
  revokeCommand(certificate, context, outcome);
}

function listCommand(certificate: Command, context: CliContext, outcome: Outcome): void {
  certificate
    .command('list')
    .description('list certificates by identity or expiry')
    .option('--spiffe-id <id>', 'of exactly this identity')
    .option('--prefix <id>', 'of identities that begin so')
    .option('--kind <kind>', 'workload, agent, server, admin, delegated, authority')
    .option('--state <state>', 'intent, issued, withheld, refused, abandoned')
    .option('--holder <id>', 'held by this agent or client')
    .option('--authority <id>', 'signed by this authority')
    .option('--entry <id>', 'issued for this entry')
    .option('--expires-within <duration>', 'that end within this time')
    .option('--live', 'that have not ended')
    .option('--order <order>', 'newest, created (the oldest first) or expiry', 'newest')
    .option('--limit <n>', 'at most this many', '100')
    .action(action<CertificateFlags>(context, outcome, (options) => list(context, options)));
}

async function list(context: CliContext, options: CertificateFlags & GlobalOptions): Promise<void> {
  const filter = {
    spiffeId: options.spiffeId ?? '',
    spiffeIdPrefix: options.prefix ?? '',
    kind: options.kind ?? '',
    state: options.state ?? '',
    holder: options.holder ?? '',
    authorityId:
      options.authority === undefined ? '' : await authorityId(context, options, options.authority),
    entryId: options.entry === undefined ? '' : await entryId(context, options, options.entry),
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
        order: options.order ?? 'newest',
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
      { title: 'SERIAL', value: (each) => each.serial, short: 'serial' },
      { title: 'SPIFFE ID', value: (each) => each.spiffeId },
      { title: 'KIND', value: (each) => each.kind, priority: 2 },
      { title: 'STATE', value: (each) => each.state, priority: 2 },
      { title: 'CREATED', value: (each) => instant(each.createdAt), priority: 3 },
      { title: 'ENDS', value: (each) => until(each.notAfter, context.now()) },
      { title: 'HOLDER', value: (each) => each.holder, priority: 4 },
    ],
    found,
    'no certificates',
  );
}

function showCommand(certificate: Command, context: CliContext, outcome: Outcome): void {
  certificate
    .command('show <serial>')
    .description('one certificate')
    .option('--pem', 'the certificate alone, as PEM')
    .action(
      action<{ pem?: boolean }>(context, outcome, async (options, [serial]) => {
        const found = await withAdmin(context, options, 'Certificates', async (calls) =>
          calls.call('GetCertificate', {
            serial: await serialOf(context, options, serial as string),
          }),
        );
        showCertificate(context, options, found);
      }),
    );
}

function revokeCommand(certificate: Command, context: CliContext, outcome: Outcome): void {
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
          await withAdmin(context, options, 'Certificates', async (calls) =>
            calls.call('RevokeCertificate', {
              serial: await serialOf(context, options, serial as string),
              reason: options.reason,
            }),
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
