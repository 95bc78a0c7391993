import type { Command } from 'commander';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import type { ImportAuthorityResponse__Output } from '../../common/wire/generated/meshca/admin/v1/ImportAuthorityResponse.ts';
import { uuidv7 } from '../../common/runtime/index.ts';
import {
  certificatesFromPem,
  certificatesToPem,
  pemDecode,
  pemEncode,
  sha256Hex,
} from '../../common/x509/index.ts';
import { action, collect, type Outcome } from '../action.ts';
import { authorityId } from '../authority-id.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { expectNewFile, readBytes, readCsr, writeNew } from '../files.ts';
import { facts, instant, json, parseDuration, until } from '../output.ts';

/**
 * Authorities that another CA certifies. These commands go below `meshca authority`, which must
 * exist.
 */
export function authoritySourceCommands(
  program: Command,
  context: CliContext,
  outcome: Outcome,
): void {
  const authority = program.commands.find((command) => command.name() === 'authority');
  if (authority === undefined) throw new Error('the command authority does not exist yet');
  csrCommand(authority, context, outcome);
  importCommand(authority, context, outcome);
  signDownstreamCommand(authority, context, outcome);
  crossCommand(authority, context, outcome);
  importCrlCommand(authority, context, outcome);
  requestCommand(authority, context, outcome);
}

function csrCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('csr')
    .description('make a CSR for a new intermediate; its key stays in the token')
    .option('--kind <kind>', 'issuing', 'issuing')
    .option('--key-type <type>', 'default: as configured')
    .option('--id <id>', 'make the CSR again for this authority, which waits for its certificate')
    .option('--region <name>', 'the authority signs only on servers of this region')
    .option('--replica <name>', 'the authority signs only on this replica')
    .option('--out <file>', 'write the PEM to a new file')
    .action(
      action<{
        kind: string;
        keyType?: string;
        id?: string;
        out?: string;
        region?: string;
        replica?: string;
      }>(context, outcome, async (options) => {
        if (options.out !== undefined) expectNewFile(options.out);
        const made = await withAdmin(context, options, 'AuthoritySources', async (calls) =>
          calls.call('CreateAuthorityCsr', {
            kind: options.kind,
            keyType: options.keyType ?? '',
            id: options.id === undefined ? '' : await authorityId(context, options, options.id),
            region: options.region ?? '',
            replica: options.replica ?? '',
          }),
        );
        const csrPem = pemEncode('CERTIFICATE REQUEST', made.csrDer);
        const id = made.authority?.id ?? '';
        const csrSha256 = sha256Hex(made.csrDer);
        if (options.out !== undefined) writeNew(options.out, csrPem);
        if (options.json)
          json(context, {
            id,
            csrPem,
            csrSha256,
            ...(options.out === undefined ? {} : { file: options.out }),
          });
        else {
          // only the PEM goes to standard output, so that it can be redirected
          if (options.out === undefined) context.out(csrPem);
          context.err(
            `authority ${id}\nSHA-256 of the CSR ${csrSha256}\nnext: have the CSR signed, ` +
              `then: meshca authority import ${id} --chain FILE\n`,
          );
        }
      }),
    );
}

function importCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('import <id>')
    .description('import the signed certificate of such an intermediate, with its chain and root')
    .requiredOption(
      '--chain <file>',
      'repeat: PEM with the intermediate, the certificates above it, and the root',
      collect,
    )
    .option('--root-sha256 <hex>', 'SHA-256 of the root that the chain must end in')
    .option('--dry-run', 'check only; change nothing')
    .action(
      action<{ chain: readonly string[]; rootSha256?: string; dryRun?: boolean }>(
        context,
        outcome,
        async (options, [id]) => {
          const certificatesDer = options.chain.flatMap((path) => [
            ...unwrap(certificatesFromPem(readBytes(path).toString('utf8'))),
          ]);
          const imported = await withAdmin(context, options, 'AuthoritySources', async (calls) =>
            calls.call(
              'ImportAuthority',
              {
                id: await authorityId(context, options, id as string),
                certificatesDer,
                rootSha256: options.rootSha256 ?? '',
                dryRun: options.dryRun === true,
              },
              { deadlineSeconds: 60 },
            ),
          );
          show(context, imported, options.json === true, options.dryRun === true);
        },
      ),
    );
}

function signDownstreamCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('sign-downstream')
    .description(
      'sign an intermediate for another CA; that CA can then issue every identity of this trust domain',
    )
    .requiredOption('--csr <file>', 'the CSR of that CA (PEM)')
    .requiredOption('--ttl <duration>', 'life of the certificate, for example 90d')
    .requiredOption(
      '--out <file>',
      'new file for its certificate, the certificates above it, and the root',
    )
    .option('--issuer <id>', 'the authority that signs; default: the newest active root')
    .action(
      action<{ csr: string; ttl: string; out: string; issuer?: string }>(
        context,
        outcome,
        async (options) => {
          const csrDer = readCsr(options.csr);
          // a typo in a path must not lose the signed certificate of another CA
          expectNewFile(options.out);
          const signed = await withAdmin(context, options, 'AuthoritySources', async (calls) =>
            calls.call(
              'SignDownstream',
              {
                csrDer,
                issuerId:
                  options.issuer === undefined
                    ? ''
                    : await authorityId(context, options, options.issuer),
                ttlSeconds: parseDuration(options.ttl),
                requestId: uuidv7(),
              },
              { deadlineSeconds: 60 },
            ),
          );
          writeNew(options.out, certificatesToPem([...signed.chainDer, signed.rootDer]));
          if (options.json) json(context, { ...signed, file: options.out });
          else
            facts(context, [
              ['serial', signed.serial],
              ['ends', `${instant(signed.notAfter)} (${until(signed.notAfter, context.now())})`],
              ['root', sha256Hex(signed.rootDer)],
              ['written', options.out],
            ]);
        },
      ),
    );
}

function crossCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('cross')
    .description(
      'let an old root certify a new one, for consumers that can not get the new root in time; "withdraw" ends it',
    )
    .requiredOption('--from <id>', 'the root that the consumers have')
    .requiredOption('--to <id>', 'the new root')
    .option('--out <file>', 'new file for the cross-certificate')
    .action(
      action<{ from: string; to: string; out?: string }>(context, outcome, async (options) => {
        if (options.out !== undefined) expectNewFile(options.out);
        const {
          authority: made,
          certificateDer,
          inChains,
        } = await withAdmin(context, options, 'AuthoritySources', async (calls) =>
          calls.call(
            'CrossSign',
            {
              fromId: await authorityId(context, options, options.from),
              toId: await authorityId(context, options, options.to),
            },
            { deadlineSeconds: 60 },
          ),
        );
        if (options.out !== undefined) writeNew(options.out, certificatesToPem([certificateDer]));
        if (options.json) json(context, { authority: made, certificateDer, inChains });
        else
          facts(context, [
            ['authority', made?.id ?? ''],
            [
              'ends',
              `${instant(made?.notAfter ?? 0)} (${until(made?.notAfter ?? 0, context.now())})`,
            ],
            [
              'chains',
              inChains
                ? 'contain it from now on'
                : 'do not contain it: set rotation.crossCertificates, or give the file to the consumers that need it',
            ],
            ...(options.out === undefined ? [] : [['written', options.out] as [string, string]]),
          ]);
      }),
    );
}

function importCrlCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('import-crl <file>')
    .description(
      'import the CRL of a root or intermediate whose key is not here (DER or PEM); CRLs ' +
        'are handed out when the set is complete',
    )
    .option('--dry-run', 'check only; change nothing')
    .action(
      action<{ dryRun?: boolean }>(context, outcome, async (options, [path]) => {
        const taken = await withAdmin(context, options, 'AuthoritySources', (calls) =>
          calls.call('ImportCrl', {
            crlDer: crlFile(path as string),
            dryRun: options.dryRun === true,
          }),
        );
        if (options.json) {
          json(context, taken);
          return;
        }
        for (const warning of taken.warnings) context.err(`warning: ${warning}\n`);
        if (options.dryRun) context.out('the CRL can be imported; nothing was changed\n');
        facts(context, [
          ['authority', taken.authorityIds.join(', ')],
          ['number', taken.number],
          ['ends', `${instant(taken.nextUpdate)} (${until(taken.nextUpdate, context.now())})`],
          ['revoked', String(taken.revoked)],
          ...(options.dryRun
            ? []
            : ([
                ['imported', taken.changed ? 'yes' : 'no: the server already has it'],
                [
                  'next',
                  taken.crlsHandedOut
                    ? 'the set is complete; workloads get it'
                    : 'another CRL is missing: meshca authority status',
                ],
              ] as [string, string][])),
        ]);
      }),
    );
}

function requestCommand(authority: Command, context: CliContext, outcome: Outcome): void {
  authority
    .command('request')
    .description('request a new intermediate from the upstream (Vault or OpenBao)')
    .action(
      action(context, outcome, async (options) => {
        const imported = await withAdmin(context, options, 'AuthoritySources', (calls) =>
          calls.call('RequestAuthority', {}, { deadlineSeconds: 60 }),
        );
        show(context, imported, options.json === true, false);
      }),
    );
}

function show(
  context: CliContext,
  imported: ImportAuthorityResponse__Output,
  asJson: boolean,
  dryRun: boolean,
): void {
  if (asJson) {
    json(context, imported);
    return;
  }
  for (const warning of imported.warnings) context.err(`warning: ${warning}\n`);
  if (dryRun || imported.authority === null || imported.root === null) {
    context.out('the chain can be imported; nothing was changed\n');
    return;
  }
  const { authority, root } = imported;
  facts(context, [
    ['authority', authority.id],
    ['state', authority.state],
    ['ends', `${instant(authority.notAfter)} (${until(authority.notAfter, context.now())})`],
    ['root', `${root.id} (${root.state}), SHA-256 ${sha256Hex(root.certificateDer)}`],
    [
      'next',
      imported.activated
        ? 'the authority signs: agents can join'
        : 'meshca authority publish and activate, or meshca authority rotate',
    ],
  ]);
}

function crlFile(path: string): Buffer {
  const bytes = readBytes(path);
  if (bytes[0] === 0x30) return bytes;
  const blocks = pemDecode(bytes.toString('utf8'));
  const [block, ...more] = blocks.ok ? blocks.value : [];
  if (block?.label !== 'X509 CRL' || more.length > 0)
    throw new PkiError(
      'CRL_INVALID',
      `${path} contains neither one CRL in DER nor exactly one X509 CRL in PEM`,
    );
  return block.der;
}
