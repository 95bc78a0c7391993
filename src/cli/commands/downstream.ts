import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import { uuidv7 } from '../../common/runtime/index.ts';
import { SpiffeId } from '../../common/spiffe/index.ts';
import {
  certificatesToPem,
  createCsr,
  generateKeyPairAsync,
  pemEncode,
  pkcs8Of,
  sha256Hex,
  verifyChain,
} from '../../common/x509/index.ts';
import { action, type GlobalOptions, type Outcome } from '../action.ts';
import { withSigning } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { readCsr, writeWhole } from '../files.ts';
import { fingerprintsOf } from '../server-issuer.ts';
import { facts, instant, json, parseDuration, until } from '../output.ts';
import { ownSvid, type OwnSvid } from '../own-svid.ts';
import { socketOf, type SocketOptions } from './agent-api.ts';

interface RequestFlags extends SocketOptions {
  readonly csr?: string;
  readonly keyOut?: string;
  readonly out: string;
  readonly ttl?: string;
  readonly spiffeId?: string;
}

/** Commands for a workload with a downstream entry. They use its own SVID. */
export function downstreamCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const downstream = program
    .command('downstream')
    .description('CAs below this one, for workloads whose entry has the downstream flag');
  downstream
    .command('request')
    .description(
      'obtain a CA certificate with the SVID of this process from the Workload API; needs --server HOST:PORT',
    )
    .option('--csr <file>', 'the CSR of the CA (PEM)')
    .option(
      '--key-out <file>',
      'instead of a CSR: make a P-256 key and write it to this file (0600)',
    )
    .requiredOption(
      '--out <file>',
      'file for its certificate, the certificates above it, and the root (PEM)',
    )
    .option(
      '--ttl <duration>',
      'life, for example 24h; default: the longest that the server allows',
    )
    .option('--spiffe-id <id>', 'the identity to use, if the process has several')
    .option(
      '--socket <path>',
      "the agent's socket; default SPIFFE_ENDPOINT_SOCKET or /run/meshca/agent/workload.sock",
    )
    .action(
      action<RequestFlags>(context, outcome, (options) => requestAuthority(context, options)),
    );
}

async function requestAuthority(
  context: CliContext,
  options: RequestFlags & GlobalOptions,
): Promise<void> {
  const server = checkedServer(options);
  const configured = fingerprintsOf(options.issuerFingerprint);
  const svid = await ownSvid(socketOf(context, options), options.spiffeId);
  const { csrDer, keyPem } = await request(options, svid);
  const signed = await withSigning(
    context,
    {
      server,
      ...svid,
      ...(configured.length > 0 ? { issuersSha256: configured } : {}),
      what: 'the SVID of this process',
    },
    (calls) =>
      calls.call(
        'SignDownstreamAuthority',
        {
          requestId: uuidv7(),
          csrDer,
          ttlSeconds: options.ttl === undefined ? 0 : parseDuration(options.ttl),
        },
        { deadlineSeconds: 60 },
      ),
  );
  const root = rootOf(signed, context.now());
  // the key is written first, since a certificate without its key is lost
  if (keyPem !== undefined && options.keyOut !== undefined)
    writeWhole(options.keyOut, keyPem, 0o600);
  writeWhole(options.out, certificatesToPem([...signed.chainDer, root]), 0o644);
  if (options.json)
    json(context, {
      ...signed,
      rootDer: root,
      file: options.out,
      ...(options.keyOut === undefined ? {} : { keyFile: options.keyOut }),
    });
  else
    facts(context, [
      ['as', svid.spiffeId],
      ['serial', signed.serial],
      ['ends', `${instant(signed.notAfter)} (${until(signed.notAfter, context.now())})`],
      ['root', sha256Hex(root)],
      ['written', options.keyOut === undefined ? options.out : `${options.out}, ${options.keyOut}`],
    ]);
}

/** The address of the CA. Throws INVALID_REQUEST if the options do not fit together. */
function checkedServer({ server, csr, keyOut }: RequestFlags & GlobalOptions): string {
  if (server === undefined)
    throw new PkiError('INVALID_REQUEST', '--server, the address of the CA, is missing', {
      next: 'Give --server HOST:PORT, the address that the agent of this node uses.',
    });
  if ((csr === undefined) === (keyOut === undefined))
    throw new PkiError('INVALID_REQUEST', 'exactly one of --csr and --key-out is needed');
  // a typo must not replace a key that is in use
  if (keyOut !== undefined && existsSync(keyOut))
    throw new PkiError('ALREADY_EXISTS', `${keyOut} exists already`, {
      next: 'Name a new file for the key. Replace the old key when the new certificate exists.',
    });
  return server;
}

function rootOf(
  { chainDer, rootsDer }: { readonly chainDer: Buffer[]; readonly rootsDer: Buffer[] },
  now: number,
): Buffer {
  const root = rootsDer.find((der) => verifyChain({ chainDer, roots: [der], now }).ok);
  if (root === undefined)
    throw new PkiError(
      'CHAIN_UNTRUSTED',
      'the received certificate does not chain to the received roots',
      { next: 'Nothing was written. Check the clock of this machine.' },
    );
  return root;
}

async function request(
  { csr }: RequestFlags,
  { spiffeId }: OwnSvid,
): Promise<{ readonly csrDer: Buffer; readonly keyPem?: string }> {
  if (csr === undefined) {
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    return {
      csrDer: createCsr(privateKey, { uriSan: unwrap(SpiffeId.parse(spiffeId)).trustDomain.id }),
      keyPem: pemEncode('PRIVATE KEY', pkcs8Of(privateKey)),
    };
  }
  const csrDer = readCsr(csr);
  return { csrDer };
}
