import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Server, ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';

// Health and reflection, which libraries define. Imported on its own path: it loads contracts, but
// none of the libraries, whose memory an agent would keep.

/** A folder of a package, by its path from the package's main module. */
const besideMain = (name: string, path: string): string =>
  join(dirname(fileURLToPath(import.meta.resolve(name))), path);

/** The contract of health, for reflection. */
export const healthDefinition: PackageDefinition = loadSync(
  besideMain('grpc-health-check', '../../proto/health/v1/health.proto'),
  { longs: Number, enums: String, defaults: true, oneofs: true },
);

export const healthService = healthDefinition['grpc.health.v1.Health'] as ServiceDefinition;

const reflectionProtos = ['v1', 'v1alpha'] as const;

/** The services of gRPC reflection, in both of its versions. */
export function reflectionServices(): readonly ServiceDefinition[] {
  const folder = besideMain('@grpc/reflection', '../proto');
  return reflectionProtos.map((version) => {
    // the options of @grpc/reflection, whose answers are encoded with them
    const loaded = loadSync(join(folder, 'grpc', 'reflection', version, 'reflection.proto'), {
      longs: String,
      enums: String,
      bytes: Array,
      defaults: true,
      oneofs: true,
    });
    return loaded[`grpc.reflection.${version}.ServerReflection`] as ServiceDefinition;
  });
}

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

/** The functions that answer a request of reflection, by the path of the method. */
export async function reflectionAnswers(
  contracts: readonly PackageDefinition[],
): Promise<ReadonlyMap<string, ReflectionAnswer>> {
  const [{ ReflectionService }, { reflected }] = await Promise.all([
    import('@grpc/reflection'),
    import('./reflection.ts'),
  ]);
  const answers = new Map<string, ReflectionAnswer>();
  // the library calls only addService, and answers each message at once
  new ReflectionService(reflected(...contracts)).addToServer({
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
