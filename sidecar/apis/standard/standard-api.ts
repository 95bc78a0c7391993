import { PkiError } from '../../../src/common/errors/index.ts';
import {
  healthService,
  reflectionAnswers,
  reflectionServices,
  type Described,
  type ReflectionAnswer,
} from '../../../src/common/wire/standard-services.ts';
import type { ApiService, Callers, SocketApi } from '../../local-server/index.ts';

export interface StandardApiDependencies {
  readonly callers: Callers;
  readonly ready: () => boolean;
  /** The contracts of the other APIs on the socket. */
  readonly contracts: readonly Described[];
}

interface HealthCheckRequest {
  readonly service: string;
}

/**
 * What gRPC clients and tools expect of any server: health (grpc.health.v1, without Watch: clients
 * that only watch take UNIMPLEMENTED for healthy) and reflection.
 */
export function standardApi({ callers, ready, contracts }: StandardApiDependencies): SocketApi {
  const { Check, List } = healthService;
  if (Check === undefined || List === undefined)
    throw new PkiError('INTERNAL', 'the health contract has no Check or List');
  const status = (): object => ({ status: ready() ? 'SERVING' : 'NOT_SERVING' });
  return {
    name: 'standard',
    metadata: { kind: 'none', reason: 'tells contracts and readiness, nothing of an identity' },
    callers,
    services: () => [
      {
        definition: { Check, List },
        methods: {
          Check: {
            kind: 'unary',
            run: async (_session, request) => {
              const { service } = request as HealthCheckRequest;
              if (service === '') return status();
              throw new PkiError('NOT_FOUND', `there is no health of ${service.slice(0, 200)}`, {
                next: 'Ask for the health of the whole agent: leave the service empty.',
              });
            },
          },
          List: { kind: 'unary', run: async () => ({ statuses: { '': status() } }) },
        },
      },
      ...reflection(contracts),
    ],
  };
}

function reflection(contracts: readonly Described[]): readonly ApiService[] {
  // built at the first question: it takes memory, and hardly anybody asks
  let answers: Promise<ReadonlyMap<string, ReflectionAnswer>> | undefined;
  return reflectionServices().map((definition) => ({
    definition,
    methods: Object.fromEntries(
      Object.entries(definition).map(([name, { path }]) => [
        name,
        {
          kind: 'dialogue' as const,
          answer: async (request: unknown) => {
            answers ??= reflectionAnswers(contracts);
            return (await answers).get(path)?.(request as Parameters<ReflectionAnswer>[0]);
          },
        },
      ]),
    ),
  }));
}
