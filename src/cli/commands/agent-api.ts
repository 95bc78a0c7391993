import { join } from 'node:path';
import { Metadata, type ClientReadableStream } from '@grpc/grpc-js';
import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import { systemClock, uuidv7 } from '../../common/runtime/index.ts';
import {
  certificatesToPem,
  parseCertificate,
  pemEncode,
  splitDer,
  type ParsedCertificate,
} from '../../common/x509/index.ts';
import { fromServiceError } from '../../common/wire/index.ts';
import type { SpiffeWorkloadAPIClient } from '../../common/wire/generated/SpiffeWorkloadAPI.ts';
import type { X509SVIDResponse__Output } from '../../common/wire/generated/X509SVIDResponse.ts';
import { action, collect, type GlobalOptions, type Outcome } from '../action.ts';
import { withWorkloadApi } from '../connect.ts';
import { unreachable } from '../unreachable.ts';
import { defaultWorkloadSocket, type CliContext } from '../context.ts';
import { tellThatNothingIsKept } from '../keeps-nothing.ts';
import { writeWhole } from '../files.ts';
import { instant, json, until } from '../output.ts';
import { table } from '../table.ts';
import { largestMessage } from '../target.ts';

export interface SocketOptions {
  readonly socket?: string;
}

/** The Workload API as a workload sees it. This process is attested like any other process. */
export function agentApiCommands(agent: Command, context: CliContext, outcome: Outcome): void {
  const api = agent.command('api').description('call the Workload API of this node as a workload');
  fetchCommand(api, context, outcome);
  watchCommand(api, context, outcome);
  validateCommand(api, context, outcome);
}

const withSocket = (command: Command): Command =>
  command.option(
    '--socket <path>',
    "the agent's socket; default SPIFFE_ENDPOINT_SOCKET or /run/meshca/agent/workload.sock",
  );

interface FetchFlags extends SocketOptions {
  readonly audience?: readonly string[];
  readonly spiffeId?: string;
  readonly write?: string;
}

function fetchCommand(api: Command, context: CliContext, outcome: Outcome): void {
  withSocket(
    api
      .command('fetch')
      .description('show the identities of this process; "fetch jwt" gets a token')
      .argument('[what]', 'x509 or jwt', 'x509')
      .option('--audience <name>', 'repeat: audience of the token', collect)
      .option('--spiffe-id <id>', 'the identity to use, if the process has several')
      .option(
        '--write <dir>',
        'existing folder for svid.0.pem, svid.0.key (0600) and bundle.0.pem; further identities get the next numbers',
      ),
  ).action(
    action<FetchFlags>(context, outcome, async (options, [what]) => {
      const path = socketOf(context, options);
      if (what === 'jwt' && options.write !== undefined)
        throw new PkiError('INVALID_REQUEST', '--write can be used with x509 only');
      if (what === 'jwt') await fetchJwt(context, path, options);
      else if (what === 'x509')
        await watchX509(context, path, {
          asJson: options.json === true,
          once: true,
          ...(options.write === undefined ? {} : { write: options.write }),
          ...(options.spiffeId === undefined ? {} : { spiffeId: options.spiffeId }),
        });
      else throw new PkiError('INVALID_REQUEST', `${JSON.stringify(what)} is neither x509 nor jwt`);
    }),
  );
}

function watchCommand(api: Command, context: CliContext, outcome: Outcome): void {
  withSocket(
    api
      .command('watch')
      .description('print each update of the identities of this process, until interrupted'),
  ).action(
    action<SocketOptions>(context, outcome, (options) =>
      watchX509(context, socketOf(context, options), {
        asJson: options.json === true,
        once: false,
      }),
    ),
  );
}

function validateCommand(api: Command, context: CliContext, outcome: Outcome): void {
  withSocket(
    api
      .command('validate')
      .description('let the agent validate a JWT-SVID')
      .requiredOption('--audience <name>', 'the audience that the token must have')
      .argument('<token>', 'the token, or "-" for standard input'),
  ).action(
    action<SocketOptions & { audience: string }>(context, outcome, async (options, [token]) => {
      const path = socketOf(context, options);
      const svid = token === '-' ? (await context.readStdin()).trim() : (token as string);
      const answer = await withWorkloadApi(
        path,
        (client) =>
          new Promise<{ spiffeId: string }>((resolve, reject) => {
            client.validateJwtsvid(
              { audience: options.audience, svid },
              securityHeader(),
              (error, response) =>
                error
                  ? reject(unreachable(fromServiceError(error), path))
                  : resolve(response as { spiffeId: string }),
            );
          }),
      );
      if (options.json) json(context, answer);
      else context.out(`valid: ${answer.spiffeId}\n`);
    }),
  );
}

export function socketOf(context: CliContext, options: SocketOptions): string {
  const endpoint = options.socket ?? context.env['SPIFFE_ENDPOINT_SOCKET'] ?? defaultWorkloadSocket;
  return endpoint.startsWith('unix:') ? endpoint.replace(/^unix:(\/\/)?/, '') : endpoint;
}

function securityHeader(): Metadata {
  const metadata = new Metadata();
  metadata.set('workload.spiffe.io', 'true');
  metadata.set('meshca-largest-message', String(largestMessage));
  return metadata;
}

async function fetchJwt(
  context: CliContext,
  path: string,
  { audience = [], spiffeId = '', json: asJson = false }: FetchFlags & GlobalOptions,
): Promise<void> {
  if (audience.length === 0) throw new PkiError('INVALID_REQUEST', '--audience is missing');
  const { svids } = await withWorkloadApi(
    path,
    (client) =>
      new Promise<{ svids: readonly { spiffeId: string; svid: string; hint: string }[] }>(
        (resolve, reject) => {
          client.fetchJwtsvid(
            { audience: [...audience], spiffeId },
            securityHeader(),
            (error, response) =>
              error
                ? reject(unreachable(fromServiceError(error), path))
                : resolve(
                    response as { svids: { spiffeId: string; svid: string; hint: string }[] },
                  ),
          );
        },
      ),
  );
  if (asJson) json(context, svids);
  else for (const svid of svids) context.out(`${svid.spiffeId}\n${svid.svid}\n`);
}

/** Reads the present identities of this process once. The agent is told that nothing is kept. */
export async function fetchX509(path: string): Promise<X509SVIDResponse__Output> {
  let first: X509SVIDResponse__Output | undefined;
  await readX509(path, {
    take: (response) => {
      first ??= response;
      return 'done';
    },
    keeps: () => false,
  });
  if (first === undefined)
    throw new PkiError('UNREACHABLE', `the agent at ${path} ended the stream without an identity`);
  return first;
}

interface X509Reading {
  /** Called for each update. An error of it ends the reading. */
  readonly take: (response: X509SVIDResponse__Output) => 'done' | 'more';
  /** Whether something that was read remains after the end of this process. */
  readonly keeps: () => boolean;
  /** Its abort ends the reading without an error. */
  readonly signal?: AbortSignal;
}

/** Reads until `take` is done, `signal` fires, or the agent ends the stream. */
function readX509(path: string, { take, keeps, signal }: X509Reading): Promise<void> {
  return withWorkloadApi(path, (client) => {
    const clientId = uuidv7(systemClock.nowMs());
    return new Promise<void>((resolve, reject) => {
      const stream = openX509(client, keeps() ? '' : clientId);
      const stop = (): void => stream.cancel();
      signal?.addEventListener('abort', stop, { once: true });
      let failed: Error | undefined;
      // said after each update and not at the end, since an interrupted command ends at once
      const letGo = async ({ svids }: X509SVIDResponse__Output): Promise<void> => {
        const spiffeId = svids[0]?.spiffeId;
        if (spiffeId !== undefined && !keeps())
          await tellThatNothingIsKept({ client, clientId, spiffeId }, securityHeader());
      };
      stream.on('data', (response: X509SVIDResponse__Output) => {
        let ends = false;
        try {
          ends = take(response) === 'done';
        } catch (thrown) {
          failed = thrown as Error;
          ends = true;
        }
        void letGo(response).then(() => ends && stop());
      });
      stream.on('error', (error) => {
        const failure = fromServiceError(error as Parameters<typeof fromServiceError>[0]);
        if (failed !== undefined) reject(failed);
        else if (failure.code === 'CANCELLED') resolve();
        else reject(unreachable(failure, path));
      });
      stream.on('end', resolve);
    });
  });
}

type X509Stream = ClientReadableStream<X509SVIDResponse__Output>;

/** A reader that keeps what it reads sends no name. The agent then counts it as a holder. */
function openX509(client: SpiffeWorkloadAPIClient, clientId: string): X509Stream {
  const metadata = securityHeader();
  metadata.set('meshca-issuers', '1');
  if (clientId !== '') metadata.set('meshca-client', clientId);
  return client.fetchX509Svid({}, metadata);
}

interface X509Options {
  readonly asJson: boolean;
  readonly once: boolean;
  readonly write?: string;
  readonly spiffeId?: string;
}

const watchX509 = (context: CliContext, path: string, options: X509Options): Promise<void> =>
  readX509(path, {
    take: (response) => {
      show(context, response, options);
      return options.once ? 'done' : 'more';
    },
    keeps: () => options.write !== undefined,
    signal: context.signal,
  });

function show(
  context: CliContext,
  response: X509SVIDResponse__Output,
  { asJson, write, spiffeId }: X509Options,
): void {
  const svids = response.svids
    .filter((svid) => spiffeId === undefined || svid.spiffeId === spiffeId)
    .map((svid) => ({ svid, leaf: leafOf(svid.x509Svid) }));
  if (svids.length === 0)
    throw new PkiError(
      'NOT_FOUND',
      `none of the ${response.svids.length} identities of this process is ${spiffeId ?? ''}`,
    );
  if (write !== undefined)
    for (const [index, { svid }] of svids.entries()) writeSvid(write, index, svid);
  if (asJson) {
    // keys are never printed
    json(
      context,
      svids.map(({ svid, leaf }) => ({
        spiffeId: svid.spiffeId,
        hint: svid.hint,
        serial: leaf?.serialHex,
        notBefore: leaf?.notBefore,
        notAfter: leaf?.notAfter,
        x509Svid: svid.x509Svid,
        bundle: svid.bundle,
      })),
    );
    return;
  }
  table(
    context,
    [
      { title: 'SPIFFE ID', value: ({ svid }) => svid.spiffeId },
      {
        title: 'SERIAL',
        value: ({ leaf }) => leaf?.serialHex ?? '-',
        short: 'serial',
        priority: 3,
      },
      { title: 'NOT AFTER', value: ({ leaf }) => instant(leaf?.notAfter ?? 0), priority: 4 },
      { title: 'ENDS', value: ({ leaf }) => until(leaf?.notAfter ?? 0, context.now()) },
      { title: 'HINT', value: ({ svid }) => svid.hint || '-', priority: 2 },
      // a workload that does not choose takes the first (SPIFFE Workload API, section 5.2.1)
      {
        title: 'DEFAULT',
        value: ({ svid }) => (svid === response.svids[0] ? 'yes' : '-'),
        priority: 2,
      },
    ],
    svids,
    'no identity',
  );
  if (write !== undefined) context.out(keptText(svids.map(({ leaf }) => leaf?.notAfter ?? 0)));
}

/**
 * Nobody knows how long files are used. Therefore they count until the last certificate has ended.
 */
const keptText = (ends: readonly number[]): string =>
  `kept in files until ${instant(Math.max(...ends))}; a rotation waits until then for the ` +
  'process that uses the files\n';

/** Writes the key first, readable by its owner only. Scripts know these names from spire-agent. */
function writeSvid(
  directory: string,
  index: number,
  svid: X509SVIDResponse__Output['svids'][number],
): void {
  writeWhole(
    join(directory, `svid.${index}.key`),
    pemEncode('PRIVATE KEY', svid.x509SvidKey),
    0o600,
  );
  for (const [name, ders] of [
    ['svid', svid.x509Svid],
    ['bundle', svid.bundle],
  ] as const) {
    const certificates = splitDer(ders);
    if (!certificates.ok) throw certificates.error;
    writeWhole(
      join(directory, `${name}.${index}.pem`),
      certificatesToPem(certificates.value),
      0o644,
    );
  }
}

function leafOf(chain: Buffer): ParsedCertificate | undefined {
  const split = splitDer(chain);
  const first = split.ok ? split.value[0] : undefined;
  const parsed = first === undefined ? undefined : parseCertificate(first);
  return parsed?.ok ? parsed.value : undefined;
}
