import type { ServerDuplexStream } from '@grpc/grpc-js';
import { PkiError } from '../../common/errors/index.ts';
import type { AttestRequest__Output } from '../../common/wire/generated/meshca/issuer/v1/AttestRequest.ts';
import type { AttestResponse } from '../../common/wire/generated/meshca/issuer/v1/AttestResponse.ts';
import type { AttestStart__Output } from '../../common/wire/generated/meshca/issuer/v1/AttestStart.ts';
import type { NodeAttestationHandlers } from '../../common/wire/generated/meshca/issuer/v1/NodeAttestation.ts';
import type {
  AttestExchange,
  AttestStart,
  AttestStep,
  NodeAttestation,
} from '../../services/contract.ts';
import { agentSvidMessage } from '../convert/issuing.ts';
import type { Guard } from '../guard.ts';
import { unary } from './unary.ts';

type AttestCall = ServerDuplexStream<AttestRequest__Output, AttestResponse>;

/** An attestation that has not ended by then is given up, so that nobody holds slots by silence. */
const exchangeSeconds = 20;

export function nodeAttestationHandlers(
  guard: Guard,
  attestation: NodeAttestation,
): NodeAttestationHandlers {
  return {
    Attest: (call) => attest(guard, attestation, call),
    FetchBundleSteps: unary(guard, async (_context, request) => ({
      steps: (await attestation.bundleSteps(request.sequence)).map(({ sequence, jws }) => ({
        sequence,
        jws,
      })),
    })),
  };
}

function attest(guard: Guard, attestation: NodeAttestation, call: AttestCall): void {
  const { connection } = guard.contextOf(call);
  const fail = (thrown: unknown): void => guard.failStream(call, thrown);
  let exchange: AttestExchange;
  try {
    if (connection.serverCertificateSha256 === undefined)
      throw new PkiError('CALLER_NOT_ADMITTED', 'agents attest over TLS');
    exchange = attestation.open({
      peer: connection.peer,
      serverCertificateSha256: connection.serverCertificateSha256,
    });
  } catch (thrown) {
    fail(thrown);
    return;
  }
  const timer = setTimeout(
    () =>
      fail(
        new PkiError('DEADLINE_EXCEEDED', `the attestation took longer than ${exchangeSeconds} s`),
      ),
    exchangeSeconds * 1000,
  );
  let ended = false;
  const end = (): void => {
    if (ended) return;
    ended = true;
    clearTimeout(timer);
    exchange.close();
  };
  call.on('cancelled', end);
  call.on('close', end);
  let turn: 'start' | 'answer' | 'busy' | 'done' = 'start';
  call.on('data', (message: AttestRequest__Output) => {
    const expected = turn;
    turn = 'busy';
    step(exchange, expected, message).then(
      (result) => {
        if (result.kind === 'challenge') {
          turn = 'answer';
          call.write({
            challenge: {
              nonce: result.nonce,
              trustDomain: result.trustDomainName,
              serverCertificateSha256: result.serverCertificateSha256,
            },
          });
          return;
        }
        turn = 'done';
        call.write({ svid: agentSvidMessage(result.svid) });
        call.end();
      },
      (thrown: unknown) => {
        turn = 'done';
        end();
        fail(thrown);
      },
    );
  });
  call.on('end', () => {
    if (turn === 'start' || turn === 'answer')
      fail(new PkiError('INVALID_REQUEST', 'the stream ended before the attestation was complete'));
  });
}

async function step(
  exchange: AttestExchange,
  turn: string,
  message: AttestRequest__Output,
): Promise<AttestStep> {
  if (turn === 'start' && message.step === 'start' && message.start)
    return exchange.start(startOf(message.start));
  if (turn === 'answer' && message.step === 'answer' && message.answer)
    return exchange.answer(message.answer.signature);
  throw new PkiError(
    'INVALID_REQUEST',
    `the step ${message.step ?? 'none'} does not belong here; expected: ${turn}`,
  );
}

function startOf(start: AttestStart__Output): AttestStart {
  return {
    protocolVersion: start.protocolVersion,
    agentVersion: start.agentVersion.slice(0, 64),
    requestId: start.requestId,
    csrDer: start.csrDer,
    method: methodOf(start),
  };
}

function methodOf(start: AttestStart__Output): AttestStart['method'] {
  if (start.joinToken) return { type: 'join_token', token: start.joinToken.token };
  if (start.x509pop) return { type: 'x509pop', chainDer: start.x509pop.chainDer };
  if (start.expiredSvid)
    return {
      type: 'expired_svid',
      spiffeId: start.expiredSvid.spiffeId,
      serial: start.expiredSvid.serial,
    };
  throw new PkiError(
    'INVALID_REQUEST',
    'no attestation method is given; offered: join_token, x509pop, expired_svid',
  );
}
