import { isIP } from 'node:net';
import type { Command } from 'commander';
import { action, allPages, limitOf, type GlobalOptions, type Outcome } from '../action.ts';
import { authorityId } from '../authority-id.ts';
import type { Certificate__Output } from '../../common/wire/generated/meshca/admin/v1/Certificate.ts';
import { showCertificate } from '../certificate-view.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { delegationId, entryId, serialOf } from '../object-ids.ts';
import { certificateKinds } from '../option-values.ts';
import { revokeCommand } from './certificate-revoke.ts';
import { instant, json, parseDuration, until } from '../output.ts';
import { table } from '../table.ts';
import { issueCommand } from './certificate-issue.ts';

interface CertificateFlags {
  readonly spiffeId?: string;
  readonly prefix?: string;
  readonly kind?: string;
  readonly state?: string;
  readonly name?: string;
  readonly suffix?: string;
  readonly profile?: string;
  readonly owner?: string;
  readonly tenant?: string;
  readonly holder?: string;
  readonly authority?: string;
  readonly entry?: string;
  readonly delegation?: string;
  readonly expiresWithin?: string;
  readonly live?: boolean;
  readonly order?: string;
  readonly limit?: string;
}

/** The inventory of certificates. */
export function certificateCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const certificate = program
    .command('certificate')
    .description('the inventory of all issued certificates');
  issueCommand(certificate, context, outcome);
  listCommand(certificate, context, outcome);
  showCommand(certificate, context, outcome);
  revokeCommand(certificate, context, outcome);
}

function listCommand(certificate: Command, context: CliContext, outcome: Outcome): void {
  certificate
    .command('list')
    .description('list certificates by identity, name or expiry')
    .option('--spiffe-id <id>', 'only certificates of this identity')
    .option('--prefix <id>', 'only certificates of identities with this prefix')
    .option('--kind <kind>', certificateKinds.join(', '))
    .option('--state <state>', 'intent, issued, withheld, refused, abandoned')
    .option('--name <name>', 'only certificates with this DNS name or IP address')
    .option('--suffix <name>', 'only certificates with a DNS name below this one')
    .option('--profile <name>', 'only certificates of this profile')
    .option('--owner <id>', 'only certificates of names that this identity or operator owns')
    .option('--tenant <name>', 'only certificates issued for this tenant, or with a name of it')
    .option('--holder <id>', 'only certificates of this agent, client or operator')
    .option('--authority <id>', 'only certificates that this authority signed')
    .option('--entry <id>', 'only certificates for this entry')
    .option('--delegation <id>', 'only certificates by this delegation')
    .option('--expires-within <duration>', 'only certificates that end within this time')
    .option('--live', 'only certificates that have not ended')
    .option('--order <order>', 'newest, created (the oldest first) or expiry', 'newest')
    .option('--limit <n>', 'the maximum number', '100')
    .action(action<CertificateFlags>(context, outcome, (options) => list(context, options)));
}

async function list(context: CliContext, options: CertificateFlags & GlobalOptions): Promise<void> {
  const filter = {
    spiffeId: options.spiffeId ?? '',
    spiffeIdPrefix: options.prefix ?? '',
    kind: options.kind ?? '',
    state: options.state ?? '',
    ...(isIP(options.name ?? '') === 0
      ? { dnsName: options.name ?? '' }
      : { ip: options.name ?? '' }),
    dnsSuffix: options.suffix ?? '',
    profile: options.profile ?? '',
    owner: options.owner ?? '',
    tenant: options.tenant ?? '',
    holder: options.holder ?? '',
    authorityId:
      options.authority === undefined ? '' : await authorityId(context, options, options.authority),
    entryId: options.entry === undefined ? '' : await entryId(context, options, options.entry),
    delegationId:
      options.delegation === undefined
        ? ''
        : await delegationId(context, options, options.delegation),
    expiresBefore:
      options.expiresWithin === undefined
        ? 0
        : context.now() + parseDuration(options.expiresWithin),
    expiresAfter: options.live || options.expiresWithin !== undefined ? context.now() : 0,
  };
  const record = await withAdmin(context, options, 'Certificates', (calls) =>
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
    json(context, record);
    return;
  }
  table(
    context,
    [
      { title: 'SERIAL', value: (row) => row.serial, short: 'serial' },
      { title: 'SUBJECT', value: subjectOf },
      { title: 'KIND', value: (row) => row.kind, priority: 2 },
      { title: 'STATE', value: (row) => row.state, priority: 2 },
      { title: 'CREATED', value: (row) => instant(row.createdAt), priority: 3 },
      { title: 'ENDS', value: (row) => until(row.notAfter, context.now()) },
      { title: 'HOLDER', value: (row) => row.holder, priority: 4 },
    ],
    record,
    'no certificates',
  );
}

/** The identity; without one all names. */
const subjectOf = ({ spiffeId, dnsNames, ips }: Certificate__Output): string => {
  const names = [...dnsNames, ...ips];
  return spiffeId.startsWith('spiffe://') || names.length === 0 ? spiffeId : names.join(' ');
};

function showCommand(certificate: Command, context: CliContext, outcome: Outcome): void {
  certificate
    .command('show <serial>')
    .description('show one certificate')
    .option('--pem', 'print only the certificate, as PEM')
    .action(
      action<{ pem?: boolean }>(context, outcome, async (options, [serial]) => {
        const record = await withAdmin(context, options, 'Certificates', async (calls) =>
          calls.call('GetCertificate', {
            serial: await serialOf(context, options, serial as string),
          }),
        );
        showCertificate(context, options, record);
      }),
    );
}
