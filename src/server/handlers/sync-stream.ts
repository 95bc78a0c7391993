import type { ServerDuplexStream } from '@grpc/grpc-js';
import { PkiError } from '../../common/errors/index.ts';
import type { Consumer__Output } from '../../common/wire/generated/meshca/issuer/v1/Consumer.ts';
import type { SyncDown } from '../../common/wire/generated/meshca/issuer/v1/SyncDown.ts';
import type { SyncHello__Output } from '../../common/wire/generated/meshca/issuer/v1/SyncHello.ts';
import type { SyncUp__Output } from '../../common/wire/generated/meshca/issuer/v1/SyncUp.ts';
import type {
  ConsumerState,
  Sync,
  SyncConnection,
  SyncHello,
  SyncMessage,
} from '../../services/contract.ts';
import { syncDown } from '../convert/issuing.ts';
import type { Guard } from '../guard.ts';
import { agentOf } from './unary.ts';

/** One message may go to thousands of agents: converted once. */
const converted = new WeakMap<SyncMessage, SyncDown>();

function messageFor(message: SyncMessage): SyncDown {
  const known = converted.get(message);
  if (known !== undefined) return known;
  const fresh = syncDown(message);
  converted.set(message, fresh);
  return fresh;
}

/**
 * One Sync stream: messages of the agent are worked on in their order; the session's backpressure
 * is the stream's.
 */
export function syncStream(
  guard: Guard,
  sync: Sync,
  call: ServerDuplexStream<SyncUp__Output, SyncDown>,
): void {
  const context = guard.contextOf(call);
  const caller = agentOf(context);
  let connection: SyncConnection | undefined;
  let over = false;
  const close = (): void => {
    if (over) return;
    over = true;
    connection?.closed();
  };
  const fail = (thrown: unknown): void => {
    close();
    guard.failStream(call, thrown);
  };
  const session = {
    send: (message: SyncMessage): boolean => over || call.write(messageFor(message)),
    close: (error: PkiError): void => fail(error),
  };
  const handle = async (message: SyncUp__Output): Promise<void> => {
    if (over) return;
    if (message.hello) {
      if (connection !== undefined)
        throw new PkiError('INVALID_REQUEST', 'a second hello on one sync stream');
      connection = await sync.open(caller, helloOf(message.hello), session);
      if (over) connection.closed();
      return;
    }
    if (connection === undefined)
      throw new PkiError('INVALID_REQUEST', 'the first message of a sync stream is its hello');
    if (message.consumers) {
      const { snapshot, removedIds, consumers } = message.consumers;
      await connection.consumers({ snapshot, removedIds, consumers: consumers.map(consumerOf) });
    } else if (message.replacements) {
      await connection.replaced(message.replacements.replacedSerials);
    } else if (message.handshakes) {
      await connection.handshakes(
        message.handshakes.reports.map((each) => ({
          ...each,
          issuerKeyId: each.issuerKeyId.toString('hex'),
        })),
      );
    }
  };
  let work: Promise<void> = Promise.resolve();
  let waiting = 0;
  call.on('data', (message: SyncUp__Output) => {
    // one message at a time: what the agent sends faster stays in its socket
    if (++waiting === 1) call.pause();
    work = work
      .then(() => handle(message))
      .then(() => {
        if (--waiting === 0) call.resume();
      }, fail);
  });
  call.on('drain', () => connection?.drained());
  call.on('end', () => {
    close();
    call.end();
  });
  call.on('cancelled', close);
  call.on('close', close);
  call.on('error', close);
}

const consumerOf = (consumer: Consumer__Output): ConsumerState => ({
  ...consumer,
  authoritySetDigest: consumer.authoritySetDigest.toString('hex'),
  jwtSetDigest: consumer.jwtSetDigest.toString('hex'),
  issuerSetDigest: consumer.issuerSetDigest.toString('hex'),
});

const helloOf = (hello: SyncHello__Output): SyncHello => ({
  protocolVersion: hello.protocolVersion,
  agentVersion: hello.agentVersion.slice(0, 64),
  capabilities: hello.capabilities,
  bundleSequence: hello.bundleSequence,
  survivedOutageSeconds: hello.survivedOutageSeconds,
  position: hello.position
    ? { epoch: hello.position.epoch, revision: hello.position.revision }
    : undefined,
  logCheckpoint: hello.logCheckpoint,
});
