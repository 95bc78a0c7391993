import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import type { ExchangeEabKeyResponse__Output } from '../../common/wire/generated/meshca/signing/v1/ExchangeEabKeyResponse.ts';
import { exchangeToken } from '../../common/wire/token-client.ts';
import { clientOf, printEabKey } from '../acme-clients.ts';
import { action, collect, type GlobalOptions, type Outcome } from '../action.ts';
import { withSigning } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { acmeClients } from '../option-values.ts';
import { ownSvid } from '../own-svid.ts';
import { fingerprintsOf } from '../server-issuer.ts';
import { tokenClientOf, type TokenClientFlags } from '../token-client-options.ts';
import { jobToken, type TokenSourceFlags } from '../token-source.ts';
import { unreachable } from '../unreachable.ts';
import { socketOf, type SocketOptions } from './agent-api.ts';

interface ExchangeFlags extends SocketOptions, TokenSourceFlags, TokenClientFlags {
  readonly name?: readonly string[];
  readonly ip?: readonly string[];
  readonly profile?: string;
  readonly spiffeId?: string;
  readonly for?: string;
}

/** A workload or a job with a delegation of names gets an EAB key for its ACME client. */
export function exchangeCommand(key: Command, context: CliContext, outcome: Outcome): void {
  const command = key
    .command('exchange')
    .description(
      'obtain an EAB key for one account and 10 minutes with the SVID of this process from the ' +
        'Workload API, or with the token of a job (--oidc); needs --server HOST:PORT',
    )
    .option('--name <name>', 'repeat: a DNS name that a delegation of names covers', collect)
    .option('--ip <address>', 'repeat: an address that it covers', collect)
    .option('--profile <name>', 'short, classic or hours; default: that of the delegation')
    .option('--for <client>', `print its lines for ${acmeClients.join(', ')}`)
    .option('--spiffe-id <id>', 'the identity to use, if the process or the token has several')
    .option(
      '--socket <path>',
      "the agent's socket; default SPIFFE_ENDPOINT_SOCKET or /run/meshca/agent/workload.sock",
    );
  tokenOptions(command).action(
    action<ExchangeFlags>(context, outcome, async (options) => {
      const client = clientOf(options.for);
      const { keyId, macKey, directoryUrl, ...rest } = await (options.oidc === true
        ? byToken(context, options)
        : bySvid(context, options));
      const names = [...(options.name ?? [])];
      const account = { directoryUrl, keyId, macKey: macKey.toString('base64url'), names };
      printEabKey(context, { asJson: options.json, client, account, more: rest });
    }),
  );
}

const tokenOptions = (command: Command): Command =>
  command
    .option('--oidc', 'by a token of an OIDC issuer or cluster (tokens.issuers of the server)')
    .option('--token-file <file>', '--oidc: file with the token')
    .option('--token-env <name>', '--oidc: variable with the token')
    .option('--token-stdin', '--oidc: the token comes on standard input')
    .option('--audience <text>', 'GitHub Actions: the audience to ask for; default meshca')
    .option('--trust-domain <name>', '--oidc: the trust domain of the server')
    .option(
      '--root-fingerprint <sha256>',
      '--oidc: of a root of the server, where no --bundle is there; several with commas',
    );

const asked = ({ name, ip, profile }: ExchangeFlags) => ({
  dnsNames: [...(name ?? [])],
  ips: [...(ip ?? [])],
  profile: profile ?? '',
});

async function byToken(
  context: CliContext,
  options: ExchangeFlags & GlobalOptions,
): Promise<ExchangeEabKeyResponse__Output> {
  const client = tokenClientOf(context, options, fingerprintsOf(options.issuerFingerprint));
  const token = await jobToken(context, options);
  const ask = { ...asked(options), token, spiffeId: options.spiffeId ?? '' };
  try {
    return await exchangeToken(client, ask);
  } catch (thrown) {
    throw unreachable(PkiError.from(thrown), client.server);
  }
}

async function bySvid(
  context: CliContext,
  options: ExchangeFlags & GlobalOptions,
): Promise<ExchangeEabKeyResponse__Output> {
  const { server } = options;
  if (server === undefined)
    throw new PkiError('INVALID_REQUEST', '--server, the address of the CA, is missing', {
      next: 'Give --server HOST:PORT, the address that the agent of this node uses.',
    });
  const svid = await ownSvid(socketOf(context, options), options.spiffeId);
  const configured = fingerprintsOf(options.issuerFingerprint);
  return withSigning(
    context,
    {
      server,
      ...svid,
      ...(configured.length > 0 ? { issuersSha256: configured } : {}),
      what: 'the SVID of this process',
    },
    (calls) => calls.call('ExchangeEabKey', asked(options)),
  );
}
