import { setImmediate } from 'node:timers/promises';
import {
  status,
  type handleUnaryCall,
  type Server,
  type ServiceDefinition,
  type UntypedHandleCall,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { libraryMethods } from '../../api/index.ts';
import { PkiError } from '../../common/errors/index.ts';
import { adminContract, issuerContract, signingContract } from '../../common/wire/index.ts';
import {
  healthService,
  reflectionAnswers,
  reflectionServices,
  type ReflectionAnswer,
} from '../../common/wire/standard-services.ts';
import { withEncodedRequests } from '../../common/wire/encoded-request.ts';
import type { DuplexCall } from './call.ts';
import type { Guard } from './guard.ts';

/** Adds grpc.health.v1 and reflection behind the guard. */
export async function addLibraryServices(
  server: Server,
  guard: Guard,
): Promise<{ readonly health: HealthImplementation }> {
  const health = new HealthImplementation({ '': 'NOT_SERVING' });
  // the library calls addService only
  health.addToServer({
    addService: (_: ServiceDefinition, implementation: UntypedServiceImplementation) =>
      server.addService(
        withEncodedRequests(healthService),
        guardedLibrary(guard, healthService, implementation),
      ),
  } as unknown as Server);
  await setImmediate();
  addReflection(server, guard);
  return { health };
}

function addReflection(server: Server, guard: Guard): void {
  // built at the first question: it takes a tenth of the start, and hardly anybody asks
  let answers: Promise<ReadonlyMap<string, ReflectionAnswer>> | undefined;
  const answersAt = async (path: string): Promise<ReflectionAnswer> => {
    answers ??= reflectionAnswers([issuerContract(), signingContract(), adminContract()]);
    const answer = (await answers).get(path);
    if (answer === undefined) throw new PkiError('INTERNAL', `${path} has no handler`);
    return answer;
  };
  for (const definition of reflectionServices())
    server.addService(
      withEncodedRequests(definition),
      Object.fromEntries(
        Object.entries(definition).map(([name, { path }]) => [
          name,
          guard.stream({ path, admits: admitted(path) }, (_context, call, fail) =>
            answerInTurn(call, () => answersAt(path), fail),
          ),
        ]),
      ),
    );
}

/** The next question is read after the answer to the one before. */
function answerInTurn(
  call: DuplexCall,
  ready: () => Promise<ReflectionAnswer>,
  fail: (thrown: unknown) => void,
): void {
  call.on('data', (question: Parameters<ReflectionAnswer>[0]) => {
    call.pause();
    ready()
      .then((answer) => {
        call.write(answer(question));
        call.resume();
      })
      .catch(fail);
  });
  call.on('end', () => call.end());
}

function admitted(path: string): (typeof libraryMethods)[string] {
  const admits = libraryMethods[path];
  if (admits === undefined)
    throw new Error(`no callers are admitted to ${path}: add them to libraryMethods`);
  return admits;
}

function guardedLibrary(
  guard: Guard,
  definition: ServiceDefinition,
  implementation: UntypedServiceImplementation,
): UntypedServiceImplementation {
  return Object.fromEntries(
    Object.entries(definition).map(
      ([name, { path, originalName, requestStream, responseStream }]) => {
        const handler = implementation[name] ?? implementation[originalName ?? name];
        if (handler === undefined) throw new Error(`${path} has no handler`);
        if (requestStream && !responseStream)
          throw new Error(`${path}: client streaming is not offered`);
        const bound = handler.bind(implementation) as UntypedHandleCall;
        const method = { path, admits: admitted(path) };
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
