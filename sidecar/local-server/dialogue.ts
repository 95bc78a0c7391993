import type { ServerDuplexStream } from '@grpc/grpc-js';
import { PkiError } from '../../src/common/errors/index.ts';
import { decodeMessagesOf } from '../../src/common/wire/encoded-request.ts';
import type { CalledMethod, Sessions } from './sessions.ts';
import type { DialogueMethod } from './socket-api.ts';

/**
 * Serves one dialogue. The next request is read when the previous answer has left the stream's
 * buffer, so that a caller who does not read costs the memory of one answer.
 */
export function serveDialogue(
  sessions: Sessions,
  called: CalledMethod,
  { answer }: DialogueMethod,
  call: ServerDuplexStream<unknown, unknown>,
): void {
  if (call.cancelled || call.destroyed) return;
  let over = false;
  let leave = (): void => {};
  const end = (thrown?: unknown): void => {
    if (over) return;
    over = true;
    if (thrown === undefined) call.end();
    else call.emit('error', sessions.status(thrown, called, undefined));
    leave();
  };
  let session: ReturnType<Sessions['open']>;
  try {
    session = sessions.open(call, called, end);
  } catch (thrown) {
    end(thrown);
    return;
  }
  leave = () => session.end();
  decodeMessagesOf(call, end);
  call.on('cancelled', () => end(new PkiError('CANCELLED', 'the caller cancelled the call')));
  call.on('close', () => end());
  talk(call, (request) => {
    sessions.chargeMessage(session);
    return answer(request);
  }).then(
    () => end(),
    // when the caller ends its call, the loop breaks before any event
    (thrown: unknown) => end(call.cancelled ? undefined : thrown),
  );
}

async function talk(
  call: ServerDuplexStream<unknown, unknown>,
  answer: (request: unknown) => Promise<unknown>,
): Promise<void> {
  for await (const request of call as AsyncIterable<unknown>) {
    const response = await answer(request);
    if (!call.write(response))
      await new Promise<void>((resolve) => {
        call.once('drain', resolve);
        call.once('close', resolve);
      });
  }
}
