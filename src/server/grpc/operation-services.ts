import type { ServerDuplexStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import { admittedClasses, rowAt, type Operations, type Row } from '../../api/index.ts';
import { PkiError } from '../../common/errors/index.ts';
import type { AttestRequest__Output } from '../../common/wire/generated/meshca/issuer/v1/AttestRequest.ts';
import type { AttestResponse } from '../../common/wire/generated/meshca/issuer/v1/AttestResponse.ts';
import type { SyncDown } from '../../common/wire/generated/meshca/issuer/v1/SyncDown.ts';
import type { SyncUp__Output } from '../../common/wire/generated/meshca/issuer/v1/SyncUp.ts';
import { serviceDefinition, type MethodPathOf, type ServiceName } from '../../common/wire/index.ts';
import type { Services } from '../../services/services.ts';
import type { SignStreamRequest__Output } from '../../common/wire/generated/meshca/signing/v1/SignStreamRequest.ts';
import type { SignStreamResponse } from '../../common/wire/generated/meshca/signing/v1/SignStreamResponse.ts';
import type { WatchBundleRequest__Output } from '../../common/wire/generated/meshca/signing/v1/WatchBundleRequest.ts';
import type { WatchBundleResponse } from '../../common/wire/generated/meshca/signing/v1/WatchBundleResponse.ts';
import type { Caller, DelegateCaller } from '../../services/callers/caller.ts';
import { attestStream } from './exchanges/attest.ts';
import { signStream } from './exchanges/sign-stream.ts';
import { syncStream } from './exchanges/sync.ts';
import { watchBundle } from './exchanges/watch-bundle.ts';
import type { WritableCall } from './call.ts';
import type { Guard } from './guard.ts';
import type { StreamWork } from './stream-call.ts';
import { writeStream } from './write-stream.ts';

/** The handlers of all dialogues. The table of operations admits their callers. */
export type Exchanges = Readonly<Record<MethodPathOf<'exchange'>, StreamWork>>;

export const exchangesOf = ({
  attestation,
  sync,
  signStreams,
  watch,
}: Pick<Services, 'attestation' | 'sync' | 'signStreams' | 'watch'>): Exchanges => ({
  '/meshca.issuer.v1.NodeAttestation/Attest': ({ connection }, call, fail) =>
    attestStream(
      attestation,
      connection,
      call as ServerDuplexStream<AttestRequest__Output, AttestResponse>,
      fail,
    ),
  '/meshca.issuer.v1.AgentIssuer/Sync': ({ caller }, call, fail) => {
    if (caller.class !== 'agent')
      throw new PkiError(
        'CALLER_NOT_ADMITTED',
        `only agents may do this, not ${caller.class} callers`,
      );
    syncStream(sync, caller, call as ServerDuplexStream<SyncUp__Output, SyncDown>, fail);
  },
  '/meshca.signing.v1.Signing/SignStream': ({ caller }, call, fail) =>
    signStream(
      signStreams,
      delegateOf(caller),
      call as ServerDuplexStream<SignStreamRequest__Output, SignStreamResponse>,
      fail,
    ),
  '/meshca.signing.v1.Signing/WatchBundle': ({ caller }, call, fail) =>
    watchBundle(
      watch,
      delegateOf(caller),
      call as ServerDuplexStream<WatchBundleRequest__Output, WatchBundleResponse>,
      fail,
    ),
});

function delegateOf(caller: Caller): DelegateCaller {
  if (caller.class === 'delegate') return caller;
  throw new PkiError(
    'CALLER_NOT_ADMITTED',
    `only delegates may do this, not ${caller.class} callers`,
  );
}

/** The handlers of one service, each behind the guard. */
export function guardedService(
  guard: Guard,
  operations: Operations,
  exchanges: Exchanges,
  service: ServiceName,
): UntypedServiceImplementation {
  return Object.fromEntries(
    Object.entries(serviceDefinition(service)).map(([name, { path }]) => {
      const row = rowAt(path);
      const { patienceSeconds } = row;
      const method = { path, admits: admittedClasses(row), patienceSeconds };
      return [
        name,
        row.run === undefined
          ? guard.stream(method, streamWork(row, operations, exchanges))
          : guard.unary(method, {
              // a method that never waits has nothing to pass
              ...(row.dualControl === 'never'
                ? {}
                : {
                    pass: ({ caller }, request, signal) =>
                      operations.pass(path, { caller, request, signal }),
                  }),
              run: ({ caller }, { request }, signal) =>
                operations.run(path, caller, request as object, signal),
              note: () => operations.note(path),
            }),
      ];
    }),
  );
}

function streamWork(row: Row, operations: Operations, exchanges: Exchanges): StreamWork {
  if (row.open === undefined) return exchanges[row.path as keyof Exchanges];
  return ({ caller }, call, fail) =>
    writeStream(
      call as unknown as WritableCall,
      (signal) =>
        operations.open(
          row.path,
          caller,
          (call as unknown as WritableCall).request as object,
          signal,
        ),
      fail,
    );
}
