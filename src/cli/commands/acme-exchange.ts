import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import { clientOf, printEabKey } from '../acme-clients.ts';
import { action, collect, type Outcome } from '../action.ts';
import { withSigning } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { acmeClients } from '../option-values.ts';
import { ownSvid } from '../own-svid.ts';
import { fingerprintsOf } from '../server-issuer.ts';
import { socketOf, type SocketOptions } from './agent-api.ts';

interface ExchangeFlags extends SocketOptions {
  readonly name?: readonly string[];
  readonly ip?: readonly string[];
  readonly profile?: string;
  readonly spiffeId?: string;
  readonly for?: string;
}

/** A workload with a delegation of names gets an EAB key for its ACME client. */
export function exchangeCommand(key: Command, context: CliContext, outcome: Outcome): void {
  key
    .command('exchange')
    .description(
      'obtain an EAB key for one account and 10 minutes with the SVID of this process from the ' +
        'Workload API; needs --server HOST:PORT',
    )
    .option('--name <name>', 'repeat: a DNS name that a delegation of names covers', collect)
    .option('--ip <address>', 'repeat: an address that it covers', collect)
    .option('--profile <name>', 'short, classic or hours; default: that of the delegation')
    .option('--for <client>', `print its lines for ${acmeClients.join(', ')}`)
    .option('--spiffe-id <id>', 'the identity to use, if the process has several')
    .option(
      '--socket <path>',
      "the agent's socket; default SPIFFE_ENDPOINT_SOCKET or /run/meshca/agent/workload.sock",
    )
    .action(
      action<ExchangeFlags>(context, outcome, async (options) => {
        const client = clientOf(options.for);
        const { server } = options;
        if (server === undefined)
          throw new PkiError('INVALID_REQUEST', '--server, the address of the CA, is missing', {
            next: 'Give --server HOST:PORT, the address that the agent of this node uses.',
          });
        const svid = await ownSvid(socketOf(context, options), options.spiffeId);
        const configured = fingerprintsOf(options.issuerFingerprint);
        const names = [...(options.name ?? [])];
        const { keyId, macKey, directoryUrl, ...rest } = await withSigning(
          context,
          {
            server,
            ...svid,
            ...(configured.length > 0 ? { issuersSha256: configured } : {}),
            what: 'the SVID of this process',
          },
          (calls) =>
            calls.call('ExchangeEabKey', {
              dnsNames: names,
              ips: [...(options.ip ?? [])],
              profile: options.profile ?? '',
            }),
        );
        const account = { directoryUrl, keyId, macKey: macKey.toString('base64url'), names };
        printEabKey(context, { asJson: options.json, client, account, more: rest });
      }),
    );
}
