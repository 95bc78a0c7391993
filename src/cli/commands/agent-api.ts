import { Metadata, type ClientReadableStream } from '@grpc/grpc-js';
import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import { parseCertificate, splitDer, type ParsedCertificate } from '../../common/x509/index.ts';
import { fromServiceError } from '../../common/wire/index.ts';
import type { X509SVIDResponse__Output } from '../../common/wire/generated/X509SVIDResponse.ts';
import { action, collect, type Outcome } from '../action.ts';
import { unreachable, withWorkloadApi } from '../connect.ts';
import { defaultWorkloadSocket, type CliContext } from '../context.ts';
import { instant, json, table, until } from '../output.ts';

interface SocketOptions {
  readonly socket?: string;
}

/** The Workload API as a workload sees it: this process is attested like any other. */
export function agentApiCommands(agent: Command, context: CliContext, outcome: Outcome): void {
  const api = agent.command('api').description('ask the Workload API of this node, as a workload would');
  const withSocket = (command: Command): Command => command.option('--socket <path>', 'the agent\'s socket; default SPIFFE_ENDPOINT_SOCKET or /run/meshca/agent/workload.sock');
  withSocket(api.command('fetch').description('the identities of this process; "fetch jwt" for a token').argument('[what]', 'x509 or jwt', 'x509')
    .option('--audience <name>', 'repeat: audience of the token', collect).option('--spiffe-id <id>', 'of several identities, this one'))
    .action(action<SocketOptions & { audience?: readonly string[]; spiffeId?: string }>(context, outcome, async (options, [what]) => {
      const path = socketOf(context, options);
      if (what === 'jwt') await fetchJwt(context, path, options.audience ?? [], options.spiffeId ?? '', options.json === true);
      else if (what === 'x509') await watchX509(context, path, options.json === true, true);
      else throw new PkiError('INVALID_REQUEST', `${JSON.stringify(what)} is neither x509 nor jwt`);
    }));
  withSocket(api.command('watch').description('print each update of the identities of this process, until interrupted'))
    .action(action<SocketOptions>(context, outcome, (options) => watchX509(context, socketOf(context, options), options.json === true, false)));
  withSocket(api.command('validate').description('let the agent validate a JWT-SVID').requiredOption('--audience <name>', 'the audience it must be for').argument('<token>', 'the token, "-" for standard input'))
    .action(action<SocketOptions & { audience: string }>(context, outcome, async (options, [token]) => {
      const path = socketOf(context, options);
      const svid = token === '-' ? (await context.readStdin()).trim() : (token as string);
      const answer = await withWorkloadApi(path, (client) => new Promise<{ spiffeId: string }>((resolve, reject) => {
        client.validateJwtsvid({ audience: options.audience, svid }, securityHeader(), (error, response) => (error ? reject(unreachable(fromServiceError(error), path)) : resolve(response as { spiffeId: string })));
      }));
      if (options.json) json(context, answer);
      else context.out(`valid: ${answer.spiffeId}\n`);
    }));
}

function socketOf(context: CliContext, options: SocketOptions): string {
  const endpoint = options.socket ?? context.env['SPIFFE_ENDPOINT_SOCKET'] ?? defaultWorkloadSocket;
  return endpoint.startsWith('unix:') ? endpoint.replace(/^unix:(\/\/)?/, '') : endpoint;
}

function securityHeader(): Metadata {
  const metadata = new Metadata();
  metadata.set('workload.spiffe.io', 'true');
  return metadata;
}

async function fetchJwt(context: CliContext, path: string, audience: readonly string[], spiffeId: string, asJson: boolean): Promise<void> {
  if (audience.length === 0) throw new PkiError('INVALID_REQUEST', '--audience is missing');
  const { svids } = await withWorkloadApi(path, (client) => new Promise<{ svids: readonly { spiffeId: string; svid: string; hint: string }[] }>((resolve, reject) => {
    client.fetchJwtsvid({ audience: [...audience], spiffeId }, securityHeader(), (error, response) => (error ? reject(unreachable(fromServiceError(error), path)) : resolve(response as { svids: { spiffeId: string; svid: string; hint: string }[] })));
  }));
  if (asJson) json(context, svids);
  else for (const svid of svids) context.out(`${svid.spiffeId}\n${svid.svid}\n`);
}

async function watchX509(context: CliContext, path: string, asJson: boolean, once: boolean): Promise<void> {
  await withWorkloadApi(path, (client) => new Promise<void>((resolve, reject) => {
    const stream: ClientReadableStream<X509SVIDResponse__Output> = client.fetchX509Svid({}, securityHeader());
    const stop = (): void => stream.cancel();
    context.signal.addEventListener('abort', stop, { once: true });
    stream.on('data', (response: X509SVIDResponse__Output) => {
      show(context, response, asJson);
      if (once) stop();
    });
    stream.on('error', (error) => {
      const failure = fromServiceError(error as Parameters<typeof fromServiceError>[0]);
      if (failure.code === 'CANCELLED') resolve();
      else reject(unreachable(failure, path));
    });
    stream.on('end', resolve);
  }));
}

function show(context: CliContext, response: X509SVIDResponse__Output, asJson: boolean): void {
  const svids = response.svids.map((svid) => ({ svid, leaf: leafOf(svid.x509Svid) }));
  if (asJson) {
    // the key is what the caller came for, yet it never goes to a terminal or a log
    json(context, svids.map(({ svid, leaf }) => ({ spiffeId: svid.spiffeId, hint: svid.hint, serial: leaf?.serialHex, notBefore: leaf?.notBefore, notAfter: leaf?.notAfter, x509Svid: svid.x509Svid, bundle: svid.bundle })));
    return;
  }
  table(context, [
    { title: 'SPIFFE ID', value: ({ svid }) => svid.spiffeId }, { title: 'SERIAL', value: ({ leaf }) => leaf?.serialHex ?? '-' }, { title: 'NOT AFTER', value: ({ leaf }) => instant(leaf?.notAfter ?? 0) },
    { title: 'ENDS', value: ({ leaf }) => until(leaf?.notAfter ?? 0, context.now()) }, { title: 'HINT', value: ({ svid }) => svid.hint || '-' },
  ], svids, 'no identity');
}

function leafOf(chain: Buffer): ParsedCertificate | undefined {
  const split = splitDer(chain);
  const first = split.ok ? split.value[0] : undefined;
  const parsed = first === undefined ? undefined : parseCertificate(first);
  return parsed?.ok ? parsed.value : undefined;
}
