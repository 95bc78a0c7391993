import { isIP } from 'node:net';
import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import { uuidv7 } from '../../common/runtime/index.ts';
import { certificatesToPem } from '../../common/x509/index.ts';
import type { IssueCertificateResponse__Output } from '../../common/wire/generated/meshca/admin/v1/IssueCertificateResponse.ts';
import { action, collect, type GlobalOptions, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { expectNewFile, readCsr, writeNew } from '../files.ts';
import { facts, instant, json, parseDuration, until } from '../output.ts';

interface IssueFlags {
  readonly csr: string;
  readonly name: readonly string[];
  readonly profile?: string;
  readonly ttl?: string;
  readonly out?: string;
  readonly roots?: string;
}

/** Issues a certificate of names for a server that its owner runs. The key stays with its CSR. */
export function issueCommand(certificate: Command, context: CliContext, outcome: Outcome): void {
  certificate
    .command('issue')
    .description('issue a certificate of names, without an identity, for a CSR')
    .requiredOption(
      '--csr <file>',
      'the CSR (PEM); of it the key counts, and names in it are compared',
    )
    .requiredOption(
      '--name <name>',
      'repeat: a DNS name, a wildcard such as *.shop.example.org, or an IP address',
      collect,
    )
    .option('--profile <name>', 'short (6 days, not revocable) or classic (30 days, revocable)')
    .option('--ttl <duration>', 'life; default: that of the profile')
    .option('--out <file>', 'new file for the chain (PEM); default: printed')
    .option('--roots <file>', 'new file for the roots of names (PEM), for those who connect')
    .action(action<IssueFlags>(context, outcome, (options) => issue(context, options)));
}

async function issue(context: CliContext, options: IssueFlags & GlobalOptions): Promise<void> {
  const csrDer = readCsr(options.csr);
  for (const path of [options.out, options.roots]) if (path !== undefined) expectNewFile(path);
  if (options.out !== undefined && options.out === options.roots)
    throw new PkiError('INVALID_REQUEST', '--out and --roots name the same file');
  const issued = await withAdmin(context, options, 'Certificates', (calls) =>
    calls.call('IssueCertificate', {
      dnsNames: options.name.filter((name) => isIP(name) === 0),
      ips: options.name.filter((name) => isIP(name) !== 0),
      csrDer,
      profile: options.profile ?? '',
      ttlSeconds: options.ttl === undefined ? 0 : parseDuration(options.ttl),
      requestId: uuidv7(),
    }),
  );
  const chainPem = certificatesToPem(issued.chainDer);
  if (options.out !== undefined) writeNew(options.out, chainPem);
  if (options.roots !== undefined) writeNew(options.roots, certificatesToPem(issued.rootsDer));
  if (options.json) json(context, { ...issued, chainPem });
  else if (options.out === undefined) context.out(chainPem);
  else showIssued(context, options, issued);
}

function showIssued(
  context: CliContext,
  { out, roots }: IssueFlags,
  issued: IssueCertificateResponse__Output,
): void {
  facts(context, [
    ['serial', issued.serial],
    ['names', [...issued.dnsNames, ...issued.ips].join('\n')],
    ['profile', issued.profile],
    ['ends', `${instant(issued.notAfter)} (${until(issued.notAfter, context.now())})`],
    ['authority', issued.authorityId],
    ['written', [out, roots].filter((path) => path !== undefined).join('\n')],
  ]);
}
