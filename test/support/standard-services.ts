import { credentials, makeGenericClientConstructor, type Client } from '@grpc/grpc-js';
import { fromServiceError } from '../../src/common/wire/index.ts';
import { healthService, reflectionServices } from '../../src/common/wire/standard-services.ts';

type Method = (...args: unknown[]) => any;
const methodsOf = (client: Client): Readonly<Record<string, Method>> =>
  client as unknown as Record<string, Method>;

function clientOf(definition: typeof healthService, path: string): Client {
  const Constructor = makeGenericClientConstructor(definition, 'x');
  return new Constructor(`unix:${path}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.default_authority': 'localhost',
  });
}

/** A client of grpc.health.v1 on a Unix socket. */
export const healthClient = (path: string): Client => clientOf(healthService, path);

/** A client of each version of gRPC reflection on a Unix socket. */
export const reflectionClients = (path: string): readonly Client[] =>
  reflectionServices().map((definition) => clientOf(definition, path));

/** The health of a service, or our code of the refusal. */
export const healthOf = (client: Client, service: string): Promise<string> =>
  new Promise((resolve) => {
    methodsOf(client)['Check']?.({ service }, (error: Error | null, answer: { status: string }) =>
      resolve(error === null ? answer.status : fromServiceError(error as never).code),
    );
  });

/** One question to gRPC reflection, on a stream of its own. */
export const reflect = (client: Client, request: object): Promise<any> =>
  new Promise((resolve, reject) => {
    const stream = methodsOf(client)['ServerReflectionInfo']?.();
    stream.on('data', (answer: unknown) => {
      stream.end();
      resolve(answer);
    });
    stream.on('error', reject);
    stream.write(request);
  });
