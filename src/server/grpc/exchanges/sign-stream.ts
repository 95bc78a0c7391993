import type { ServerDuplexStream } from '@grpc/grpc-js';
import { delegatedItem, signResult } from '../../../api/index.ts';
import { PkiError } from '../../../common/errors/index.ts';
import type { SignStreamRequest__Output } from '../../../common/wire/generated/meshca/signing/v1/SignStreamRequest.ts';
import type { SignStreamResponse } from '../../../common/wire/generated/meshca/signing/v1/SignStreamResponse.ts';
import type { DelegateCaller } from '../../../services/callers/caller.ts';
import type {
  SignStreamConnection,
  SignStreamMessage,
  SignStreams,
  SignStreamTransport,
} from '../../../services/services.ts';

type SignStreamCall = ServerDuplexStream<SignStreamRequest__Output, SignStreamResponse>;

/** One SignStream. Nothing is read before the service has opened it. */
export function signStream(
  streams: Pick<SignStreams, 'open'>,
  caller: DelegateCaller,
  call: SignStreamCall,
  fail: (thrown: unknown) => void,
): void {
  let over = false;
  let connection: SignStreamConnection | undefined;
  const close = (): void => {
    over = true;
    connection?.closed();
  };
  const transport: SignStreamTransport = {
    send: (message) => over || call.write(messageOf(message)),
    end: () => call.end(),
    close: (error) => {
      close();
      fail(error);
    },
  };
  for (const event of ['cancelled', 'close', 'error'] as const) call.on(event, close);
  streams.open(caller, transport).then(
    (opened) => {
      connection = opened;
      // the stream may have ended meanwhile
      if (over) opened.closed();
      else read(call, opened, transport);
    },
    (thrown: unknown) => fail(thrown),
  );
}

function read(
  call: SignStreamCall,
  connection: SignStreamConnection,
  transport: SignStreamTransport,
): void {
  call.on('drain', () => connection.drained());
  call.on('end', () => connection.finished());
  call.on('data', ({ id, item }: SignStreamRequest__Output) => {
    try {
      if (item === null)
        throw new PkiError('INVALID_REQUEST', 'a message of the stream has no item');
      connection.request(id, delegatedItem(item));
    } catch (thrown) {
      transport.close(PkiError.from(thrown));
    }
  });
}

const messageOf = ({ credits, answer, rootsDer }: SignStreamMessage): SignStreamResponse => ({
  credits,
  ...(answer === undefined ? {} : { id: answer.id, result: signResult(answer.outcome) }),
  ...(rootsDer === undefined ? {} : { rootsDer: [...rootsDer] }),
});
