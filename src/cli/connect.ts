import { Client } from '@grpc/grpc-js';
import type { ServiceDefinition } from '@grpc/grpc-js';
import {
  agentContract,
  serviceDefinition,
  workloadContract,
  type AdminServiceName,
  type AgentLocalMethods,
  type ServiceTypes,
} from '../common/wire/index.ts';
import { Calls, type Methods } from './calls.ts';
import type { CliContext } from './context.ts';
import { printable } from './output.ts';
import { showProgress } from './progress.ts';
import {
  onSocket,
  serverTarget,
  targetOf,
  type ServerAccess,
  type ServerOptions,
  type Target,
} from './target.ts';

async function withCalls<M extends Methods, T>(
  context: CliContext,
  { address, credentials, options, shown, explain }: Target,
  definition: ServiceDefinition,
  work: (calls: Calls<M>) => Promise<T>,
): Promise<T> {
  const { signal, env } = context;
  const waiting = (call: string): (() => void) =>
    showProgress(context, (seconds) => `${call}: no answer from ${shown} for ${seconds} s`);
  const client = new Client(address, credentials, {
    ...options,
    // http_proxy and https_proxy are for browsers; this variable is only for gRPC
    'grpc.enable_http_proxy': env['grpc_proxy'] ? 1 : 0,
  });
  const note = (text: string): void => context.err(`note: ${printable(text)}\n`);
  try {
    return await work(new Calls<M>({ client, definition, explain, note, signal, waiting }));
  } finally {
    client.close();
  }
}

type ShortName<S extends string> = S extends `meshca.admin.v1.${infer N}` ? N : never;
type AdminNoun = ShortName<AdminServiceName>;
type AdminMethods<N extends AdminNoun> = ServiceTypes[`meshca.admin.v1.${N}`];

/** Runs `work` with the calls of one admin service. */
export const withAdmin = <N extends AdminNoun, T>(
  context: CliContext,
  options: ServerOptions,
  noun: N,
  work: (calls: Calls<AdminMethods<N>>) => Promise<T>,
): Promise<T> =>
  withCalls(
    context,
    targetOf(context, options),
    serviceDefinition(`meshca.admin.v1.${noun}`),
    work,
  );

/** Runs `work` with the signing API, as the holder of an SVID. */
export const withSigning = <T>(
  context: CliContext,
  access: ServerAccess,
  work: (calls: Calls<ServiceTypes['meshca.signing.v1.Signing']>) => Promise<T>,
): Promise<T> =>
  withCalls(
    context,
    serverTarget(context, access),
    serviceDefinition('meshca.signing.v1.Signing'),
    work,
  );

/** Runs `work` with the local API of an agent. */
export const withAgentLocal = <T>(
  context: CliContext,
  socketPath: string,
  work: (calls: Calls<AgentLocalMethods>) => Promise<T>,
): Promise<T> =>
  withCalls(
    context,
    onSocket(socketPath),
    agentContract().services['meshca.agent.v1.AgentLocal'] as ServiceDefinition,
    work,
  );

export async function withWorkloadApi<T>(
  socketPath: string,
  work: (
    client: InstanceType<ReturnType<typeof workloadContract>['packages']['SpiffeWorkloadAPI']>,
  ) => Promise<T>,
): Promise<T> {
  const where = onSocket(socketPath);
  const client = new (workloadContract().packages.SpiffeWorkloadAPI)(
    where.address,
    where.credentials,
    where.options,
  );
  try {
    return await work(client);
  } finally {
    client.close();
  }
}
