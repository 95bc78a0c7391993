import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import { uuidv7 } from '../../common/runtime/index.ts';
import type { CertificateSelection } from '../../common/wire/generated/meshca/admin/v1/CertificateSelection.ts';
import type { RevokeCertificatesResponse__Output } from '../../common/wire/generated/meshca/admin/v1/RevokeCertificatesResponse.ts';
import { action, type GlobalOptions, type Outcome } from '../action.ts';
import { authorityId } from '../authority-id.ts';
import { showCertificate } from '../certificate-view.ts';
import { withAdmin } from '../connect.ts';
import { consent } from '../consent.ts';
import type { CliContext } from '../context.ts';
import { keyDigest } from '../key-source.ts';
import { delegationId, entryId, serialOf } from '../object-ids.ts';
import { facts, json, parseAge, printable, until } from '../output.ts';
import { showProgress } from '../progress.ts';
import { table } from '../table.ts';

interface SelectionFlags {
  readonly spiffeId?: string;
  readonly prefix?: string;
  readonly dnsName?: string;
  readonly holder?: string;
  readonly entry?: string;
  readonly delegation?: string;
  readonly authority?: string;
  readonly tenant?: string;
  readonly spki?: string;
  readonly csr?: string;
  readonly publicKey?: string;
  readonly issuedAfter?: string;
  readonly issuedBefore?: string;
}

export interface RevokeFlags extends SelectionFlags {
  readonly reason: string;
  /** Undefined: by the reason. */
  readonly blockKeys?: boolean;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

/** An act may go through millions of certificates. */
const actSeconds = 3_600;

/** `meshca certificate revoke`: one by its serial, or all of a selection. */
export function revokeCommand(certificate: Command, context: CliContext, outcome: Outcome): void {
  certificate
    .command('revoke [serial]')
    .description(
      'revoke one certificate, or all that fit every option given; those with noRevAvail are revoked on record alone',
    )
    .option('--spiffe-id <id>', 'of this identity')
    .option('--prefix <id>', 'of the identities below this one; it ends in a slash')
    .option('--dns-name <name>', 'with this DNS name')
    .option('--holder <id>', 'of this agent or client')
    .option('--entry <id>', 'for this entry')
    .option('--delegation <id>', 'for this delegation')
    .option('--authority <id>', 'that this authority signed')
    .option('--tenant <name>', 'issued for this tenant, or with a name of it')
    .option('--spki <sha256>', 'with this key: SHA-256 of its SubjectPublicKeyInfo')
    .option('--csr <path>', 'with the key of this certificate request (PEM)')
    .option('--public-key <path>', 'with this key: PEM of it, of its private key or certificate')
    .option('--issued-after <time>', 'issued then or later: 2h (ago), or 2026-01-31T12:00:00Z')
    .option('--issued-before <time>', 'issued then or earlier')
    .option(
      '--reason <reason>',
      'unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation, privilegeWithdrawn',
      'unspecified',
    )
    .option('--block-keys', 'block their keys for ever; the default for keyCompromise')
    .option('--no-block-keys', 'do not block their keys')
    .option('--dry-run', 'show what would be revoked; change nothing')
    .option('--yes', 'do not ask')
    .action(
      action<RevokeFlags>(context, outcome, async (options, [serial]) => {
        const selection = await selectionOf(context, options);
        if (serial !== undefined) await revokeOne(context, options, serial, selection);
        else await revokeAll(context, options, selection);
      }),
    );
}

async function revokeOne(
  context: CliContext,
  options: RevokeFlags & GlobalOptions,
  serial: string,
  selection: CertificateSelection,
): Promise<void> {
  if (Object.keys(selection).length > 0 || options.dryRun === true)
    throw new PkiError(
      'INVALID_REQUEST',
      'name one certificate by its serial, or several by options, not both',
    );
  const revoked = await withAdmin(context, options, 'Certificates', async (calls) =>
    calls.call('RevokeCertificate', {
      serial: await serialOf(context, options, serial),
      reason: options.reason,
      blockKeys: flagText(options.blockKeys),
    }),
  );
  showCertificate(context, options, revoked);
  if (revoked.revocationNote !== '') context.err(`note: ${printable(revoked.revocationNote)}\n`);
}

/** Revokes all of a selection, after a preview and the consent of the operator. */
export async function revokeAll(
  context: CliContext,
  options: RevokeFlags & GlobalOptions,
  selection: CertificateSelection,
): Promise<void> {
  const request = {
    selection,
    reason: options.reason,
    blockKeys: flagText(options.blockKeys),
  };
  await withAdmin(context, options, 'Certificates', async (calls) => {
    const plan = await calls.call(
      'RevokeCertificates',
      { ...request, dryRun: true },
      { deadlineSeconds: actSeconds },
    );
    if (options.json !== true || options.dryRun === true) showPlan(context, options, plan);
    if (options.dryRun === true) return;
    if (plan.revoked + plan.raised > 0)
      await consent(
        context,
        options.yes,
        `Revoke ${plan.revoked} certificates of ${plan.holders} holders` +
          `${plan.raised > 0 ? `, change the reason of ${plan.raised} to keyCompromise` : ''}` +
          `${plan.keysBlocked > 0 ? `, and block ${plan.keysBlocked} keys for ever` : ''}?`,
      );
    const actId = uuidv7();
    let revoked = 0;
    const ask = (): void => {
      calls
        .call('GetRevocationProgress', { actId })
        .then((progress) => (revoked = Math.max(revoked, progress.revoked)))
        // the display alone lacks it
        .catch(() => {});
    };
    const done = await calls.call(
      'RevokeCertificates',
      { ...request, dryRun: false, actId },
      {
        deadlineSeconds: actSeconds,
        waiting: () =>
          showProgress(context, () => {
            ask();
            return `${revoked} of ${plan.revoked} certificates are revoked`;
          }),
      },
    );
    if (options.json) json(context, done);
    else showDone(context, done);
  });
}

const flagText = (flag: boolean | undefined): string =>
  flag === undefined ? '' : flag ? 'yes' : 'no';

async function selectionOf(
  context: CliContext,
  options: SelectionFlags & GlobalOptions,
): Promise<CertificateSelection> {
  const { spiffeId, prefix, dnsName, holder, entry, delegation, authority, tenant } = options;
  const publicKeySha256 = keyDigest(options);
  const { issuedAfter, issuedBefore } = options;
  return {
    ...(spiffeId === undefined ? {} : { spiffeId }),
    ...(prefix === undefined ? {} : { spiffeIdPrefix: prefix }),
    ...(dnsName === undefined ? {} : { dnsName }),
    ...(tenant === undefined ? {} : { tenant }),
    ...(holder === undefined ? {} : { holder }),
    ...(entry === undefined ? {} : { entryId: await entryId(context, options, entry) }),
    ...(delegation === undefined
      ? {}
      : { delegationId: await delegationId(context, options, delegation) }),
    ...(authority === undefined
      ? {}
      : { authorityId: await authorityId(context, options, authority) }),
    ...(publicKeySha256 === undefined ? {} : { publicKeySha256 }),
    ...(issuedAfter === undefined ? {} : { issuedAfter: timeOf(issuedAfter, context) }),
    ...(issuedBefore === undefined ? {} : { issuedBefore: timeOf(issuedBefore, context) }),
  };
}

/** Unix seconds. */
function timeOf(text: string, { now }: CliContext): number {
  if (!/^\d{4}-\d\d-\d\dT/.test(text)) return now() - parseAge(text);
  const ms = Date.parse(text);
  if (Number.isNaN(ms))
    throw new PkiError('INVALID_REQUEST', `${JSON.stringify(text)} is not a time`, {
      next: 'Write how long ago (2h), or the time as 2026-01-31T12:00:00Z.',
    });
  return Math.floor(ms / 1000);
}

function showPlan(
  context: CliContext,
  options: GlobalOptions,
  plan: RevokeCertificatesResponse__Output,
): void {
  if (options.json) {
    json(context, plan);
    return;
  }
  counts(context, plan, 'to revoke');
  if (plan.sample.length > 0)
    table(
      context,
      [
        { title: 'SERIAL', value: (row) => row.serial, short: 'serial' },
        { title: 'SPIFFE ID', value: (row) => row.spiffeId },
        { title: 'ENDS', value: (row) => until(row.notAfter, context.now()) },
        { title: 'HOLDER', value: (row) => row.holder, priority: 2 },
      ],
      plan.sample,
      '',
    );
}

const showDone = (context: CliContext, done: RevokeCertificatesResponse__Output): void =>
  counts(context, done, 'revoked');

function counts(
  context: CliContext,
  outcome: RevokeCertificatesResponse__Output,
  title: string,
): void {
  facts(context, [
    [title, `${outcome.revoked} certificates of ${outcome.holders} holders`],
    [
      'revoked before',
      outcome.raised === 0
        ? String(outcome.alreadyRevoked)
        : `${outcome.alreadyRevoked}: the reason of ${outcome.raised} becomes keyCompromise`,
    ],
    [
      'on no CRL',
      outcome.unlisted === 0
        ? '0'
        : `${outcome.unlisted}: they carry noRevAvail, so that relying parties learn nothing`,
    ],
    ['keys blocked', `${outcome.keysBlocked} of ${outcome.keys}`],
    ...(outcome.altered === 0 ? [] : [['altered rows', alteredText(outcome.altered)] as const]),
    ...outcome.skipped.map(
      ({ kind, count, next }) => [`left alone (${kind})`, `${count}: ${next}`] as const,
    ),
  ]);
}

const alteredText = (count: number): string =>
  `${count}: the database differs from the audit log (OBJECT_NOT_IN_LOG), and they were revoked as ` +
  'the log has them. See "meshca audit verify", and restore the database.';
