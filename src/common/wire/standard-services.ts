import type { Server, ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import type { Contract } from './contract.ts';
import { healthContract, reflectionContracts } from './load.ts';

// Health and reflection, which libraries define. Imported on its own path: it loads contracts, but
// none of the libraries, whose memory an agent would keep.

export const healthService = healthContract().services[
  'grpc.health.v1.Health'
] as ServiceDefinition;

/** The services of gRPC reflection, in both of its versions. */
export const reflectionServices = (): readonly ServiceDefinition[] =>
  reflectionContracts().flatMap(({ services }) => Object.values(services));

export type ReflectionAnswer = (request: ReflectionRequest) => ReflectionResponse;

/** The fields of a request that are read here. */
interface ReflectionRequest {
  readonly fileContainingSymbol?: string;
}

interface ReflectionResponse {
  readonly originalRequest?: ReflectionRequest;
  readonly errorResponse?: object;
  readonly listServicesResponse?: { readonly service: readonly { readonly name: string }[] };
}

export type Described = Pick<Contract<unknown>, 'describe'>;

/** The functions that answer a request of reflection, by the path of the method; health is shown too. */
export async function reflectionAnswers(
  contracts: readonly Described[],
): Promise<ReadonlyMap<string, ReflectionAnswer>> {
  const [{ ReflectionService }, { reflected }, definitions] = await Promise.all([
    import('@grpc/reflection'),
    import('./reflection.ts'),
    Promise.all([...contracts, healthContract()].map((contract) => contract.describe())),
  ]);
  const answers = new Map<string, ReflectionAnswer>();
  // the library calls only addService, and answers each message at once
  new ReflectionService(reflected(...definitions)).addToServer({
    addService: (definition: ServiceDefinition, implementation: UntypedServiceImplementation) => {
      for (const [name, { path }] of Object.entries(definition)) {
        const handler = implementation[name];
        if (handler !== undefined)
          answers.set(path, withoutPackage(answerOf(handler as StreamHandler)));
      }
    },
  } as unknown as Server);
  return answers;
}

type StreamHandler = (stream: {
  on(event: string, listener: (message: ReflectionRequest) => void): void;
  write(answer: ReflectionResponse): void;
  end(): void;
}) => void;

function answerOf(handler: StreamHandler): ReflectionAnswer {
  let hear: ((message: ReflectionRequest) => void) | undefined;
  let last: ReflectionResponse = {};
  handler({
    on: (event, listener) => {
      if (event === 'data') hear = listener;
    },
    write: (answer) => {
      last = answer;
    },
    end: () => {},
  });
  return (request) => {
    hear?.(request);
    return last;
  };
}

/**
 * Removes the dot with which the library begins the symbols of a contract without a package, such
 * as SpiffeWorkloadAPI.
 */
const withoutPackage =
  (answer: ReflectionAnswer): ReflectionAnswer =>
  (request) => {
    const first = answer(request);
    const { fileContainingSymbol: symbol } = request;
    if (first.errorResponse !== undefined && symbol !== undefined) {
      const second = answer({ ...request, fileContainingSymbol: `.${symbol}` });
      if (second.errorResponse === undefined) return { ...second, originalRequest: request };
    }
    const { listServicesResponse: list } = first;
    if (list === undefined) return first;
    const service = list.service.map(({ name }) => ({ name: name.replace(/^\./, '') }));
    return { ...first, listServicesResponse: { service } };
  };
