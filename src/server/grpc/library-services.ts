import { setImmediate } from 'node:timers/promises';
import {
  status,
  type handleUnaryCall,
  type Server,
  type ServiceDefinition,
  type UntypedHandleCall,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation } from 'grpc-health-check';
import { libraryMethods } from '../../api/index.ts';
import { PkiError } from '../../common/errors/index.ts';
import { adminContract, issuerContract, signingContract } from '../../common/wire/index.ts';
import { reflected } from '../../common/wire/reflection.ts';
import { healthDefinition, healthService } from '../../common/wire/standard-services.ts';
import { withEncodedRequests } from '../../common/wire/encoded-request.ts';
import type { Guard } from './guard.ts';

/** Adds grpc.health.v1 and reflection behind the guard. */
export async function addLibraryServices(
  server: Server,
  guard: Guard,
): Promise<{ readonly health: HealthImplementation }> {
  const guarded = {
    addService: (
      definition: ServiceDefinition,
      implementation: UntypedServiceImplementation,
    ): void =>
      server.addService(
        withEncodedRequests(definition),
        guardedLibrary(guard, definition, implementation),
      ),
  };
  const health = new HealthImplementation({ '': 'NOT_SERVING' });
  // the library calls addService only
  health.addToServer({
    addService: (_: ServiceDefinition, implementation: UntypedServiceImplementation) =>
      guarded.addService(healthService, implementation),
  } as unknown as Server);
  const shown = contracts();
  await setImmediate();
  const reflection = new ReflectionService(shown);
  await setImmediate();
  reflection.addToServer(guarded);
  return { health };
}

const contracts = (): PackageDefinition =>
  reflected(
    issuerContract().definition,
    signingContract().definition,
    adminContract().definition,
    healthDefinition,
  );

function guardedLibrary(
  guard: Guard,
  definition: ServiceDefinition,
  implementation: UntypedServiceImplementation,
): UntypedServiceImplementation {
  return Object.fromEntries(
    Object.entries(definition).map(
      ([name, { path, originalName, requestStream, responseStream }]) => {
        const admits = libraryMethods[path];
        if (admits === undefined)
          throw new Error(`no callers are admitted to ${path}: add them to libraryMethods`);
        const handler = implementation[name] ?? implementation[originalName ?? name];
        if (handler === undefined) throw new Error(`${path} has no handler`);
        if (requestStream && !responseStream)
          throw new Error(`${path}: client streaming is not offered`);
        const bound = handler.bind(implementation) as UntypedHandleCall;
        const method = { path, admits };
        return [name, responseStream ? stream(guard, method, bound) : unary(guard, method, bound)];
      },
    ),
  );
}

type GuardedMethod = Parameters<Guard['unary']>[0];

const stream = (
  guard: Guard,
  method: GuardedMethod,
  handler: UntypedHandleCall,
): UntypedHandleCall =>
  guard.stream(method, (_context, call) => (handler as (call: unknown) => void)(call));

const unary = (
  guard: Guard,
  method: GuardedMethod,
  handler: UntypedHandleCall,
): UntypedHandleCall =>
  guard.unary(method, {
    run: (_context, call) =>
      new Promise((resolve, reject) => {
        (handler as handleUnaryCall<unknown, unknown>)(call, (error, value) => {
          if (error === null || error === undefined) resolve(value);
          else reject(errorOf(error));
        });
      }),
  });

/** grpc-health-check calls back with a bare status, which is not an Error. */
function errorOf(refused: { readonly code?: number; readonly details?: string } | Error): Error {
  if (refused instanceof Error) return refused;
  const { code, details = 'the library gave no reason' } = refused;
  if (code !== status.NOT_FOUND) return new PkiError('INTERNAL', details);
  return new PkiError('NOT_FOUND', details, {
    next: 'Ask for the health of the whole server: leave the service empty.',
  });
}
