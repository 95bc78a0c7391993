import type { ServerDuplexStream } from '@grpc/grpc-js';
import { PkiError } from '../../../common/errors/index.ts';
import type { AttestRequest__Output } from '../../../common/wire/generated/meshca/issuer/v1/AttestRequest.ts';
import type { AttestResponse } from '../../../common/wire/generated/meshca/issuer/v1/AttestResponse.ts';
import type { AttestStart__Output } from '../../../common/wire/generated/meshca/issuer/v1/AttestStart.ts';
import type {
  AttestExchange,
  AttestStart,
  AttestStep,
  NodeAttestation,
} from '../../../services/services.ts';
import { agentSvidMessage } from '../../../api/index.ts';
import type { Connection } from '../connections.ts';

type AttestCall = ServerDuplexStream<AttestRequest__Output, AttestResponse>;

/** Seconds after which an attestation ends, so that silent nodes hold no slots. */
const exchangeSeconds = 20;

/** One attestation: the node's start, a challenge if its method has one, the agent's SVID. */
export function attestStream(
  attestation: Pick<NodeAttestation, 'open'>,
  { peer, serverCertificateSha256 }: Connection,
  call: AttestCall,
  fail: (thrown: unknown) => void,
): void {
  if (serverCertificateSha256 === undefined)
    throw new PkiError('CALLER_NOT_ADMITTED', 'agents attest over TLS');
  new AttestStream(attestation.open({ peer, serverCertificateSha256 }), call, fail);
}

/** Owner of the state of the dialogue, and of the exchange, which is closed at its end. */
class AttestStream {
  readonly #exchange: AttestExchange;
  readonly #call: AttestCall;
  readonly #fail: (thrown: unknown) => void;
  readonly #timer: NodeJS.Timeout;
  #turn: 'start' | 'answer' | 'busy' | 'done' = 'start';
  #ended = false;

  constructor(exchange: AttestExchange, call: AttestCall, fail: (thrown: unknown) => void) {
    this.#exchange = exchange;
    this.#call = call;
    this.#fail = fail;
    this.#timer = setTimeout(
      () =>
        fail(
          new PkiError(
            'DEADLINE_EXCEEDED',
            `the attestation took longer than ${exchangeSeconds} s`,
          ),
        ),
      exchangeSeconds * 1000,
    );
    call.on('cancelled', () => this.#end());
    call.on('close', () => this.#end());
    call.on('data', (message: AttestRequest__Output) => this.#take(message));
    call.on('end', () => {
      if (this.#turn === 'start' || this.#turn === 'answer')
        fail(
          new PkiError('INVALID_REQUEST', 'the stream ended before the attestation was complete'),
        );
    });
  }

  #take(message: AttestRequest__Output): void {
    const expected = this.#turn;
    this.#turn = 'busy';
    step(this.#exchange, expected, message).then(
      (result) => this.#answer(result),
      (thrown: unknown) => {
        this.#turn = 'done';
        this.#end();
        this.#fail(thrown);
      },
    );
  }

  #answer(result: AttestStep): void {
    if (result.kind === 'challenge') {
      this.#turn = 'answer';
      const { nonce, trustDomainName: trustDomain, serverCertificateSha256, payload } = result;
      this.#call.write({ challenge: { nonce, trustDomain, serverCertificateSha256, payload } });
      return;
    }
    this.#turn = 'done';
    this.#call.write({ svid: agentSvidMessage(result.svid) });
    this.#call.end();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#exchange.close();
  }
}

async function step(
  exchange: AttestExchange,
  turn: string,
  message: AttestRequest__Output,
): Promise<AttestStep> {
  if (turn === 'start' && message.step === 'start' && message.start)
    return exchange.start(startOf(message.start));
  if (turn === 'answer' && message.step === 'answer' && message.answer)
    return exchange.answer(message.answer.payload);
  throw new PkiError(
    'INVALID_REQUEST',
    `the message has the step ${message.step ?? 'none'}; the expected step is ${turn}`,
  );
}

function startOf(start: AttestStart__Output): AttestStart {
  return {
    protocolVersion: start.protocolVersion,
    agentVersion: start.agentVersion.slice(0, 64),
    requestId: start.requestId,
    csrDer: start.csrDer,
    evidence: evidenceOf(start),
  };
}

function evidenceOf({ node, expiredSvid }: AttestStart__Output): AttestStart['evidence'] {
  if (node) return { kind: 'node', type: node.type, payload: node.payload };
  if (expiredSvid) return { kind: 'expired-svid', ...expiredSvid };
  throw new PkiError(
    'INVALID_REQUEST',
    'the start has neither evidence of the node nor an expired SVID',
  );
}
