import type { Metadata, Server, UntypedServiceImplementation } from '@grpc/grpc-js';
import { withEncodedRequests } from '../../common/wire/encoded-request.ts';
import type { ServedControlPlane } from '../../services/index.ts';
import type { Guard } from './guard.ts';

/** Adds the methods of the configured control planes, each behind the guard. */
export function addControlPlanes(
  server: Server,
  guard: Guard,
  controlPlanes: readonly ServedControlPlane[],
): void {
  for (const controlPlane of controlPlanes)
    server.addService(
      withEncodedRequests(controlPlane.contract),
      guardedControlPlane(guard, controlPlane),
    );
}

const guardedControlPlane = (
  guard: Guard,
  { type, contract, admits, methods }: ServedControlPlane,
): UntypedServiceImplementation =>
  Object.fromEntries(
    Object.entries(contract).map(([name, { path }]) => {
      const method = methods[path];
      if (method === undefined)
        throw new Error(`the control plane ${type} does not answer ${path}`);
      return [
        name,
        guard.unary(
          { path, admits },
          {
            run: ({ caller, connection, requestId }, { metadata, request }, signal) =>
              method(
                {
                  caller,
                  peer: connection.peer,
                  requestId,
                  header: (key) => headerOf(metadata, key),
                  signal,
                },
                request as object,
              ),
          },
        ),
      ];
    }),
  );

function headerOf(metadata: Metadata, key: string): string | undefined {
  const [value] = metadata.get(key);
  return typeof value === 'string' ? value : undefined;
}
