import type { ServiceDefinition } from '@grpc/grpc-js';
import type { Refusal } from './generated/meshca/issuer/v1/Refusal.ts';
import type { SignX509SvidsResponse } from './generated/meshca/issuer/v1/SignX509SvidsResponse.ts';
import type { X509Svid } from './generated/meshca/issuer/v1/X509Svid.ts';
import type { X509SvidResult } from './generated/meshca/issuer/v1/X509SvidResult.ts';
import type { SignBatchResponse } from './generated/meshca/signing/v1/SignBatchResponse.ts';
import type { SignRefusal } from './generated/meshca/signing/v1/SignRefusal.ts';
import type { SignResponse } from './generated/meshca/signing/v1/SignResponse.ts';
import type { SignResult } from './generated/meshca/signing/v1/SignResult.ts';
import type { SignStreamResponse } from './generated/meshca/signing/v1/SignStreamResponse.ts';
import { MessageWriter } from './message-writer.ts';

/**
 * The answers with certificates, encoded by hand. The library makes an object of each message, and
 * another one of each field: for a batch, most of the time between issuance and the socket. A test
 * compares the bytes with those of the library.
 */

const writer = new MessageWriter();

/** Writes a list from its last item to its first, as the writer needs it. */
function backwards<T>(items: readonly T[] | undefined, write: (item: T) => void): void {
  if (items === undefined) return;
  for (let index = items.length - 1; index >= 0; index -= 1) write(items[index] as T);
}

function writeSvid(svid: X509Svid): void {
  backwards(svid.namesRootsDer, (der) => writer.bytes(9, der));
  writer.text(8, svid.authorityId);
  writer.count(7, svid.serverTime);
  writer.count(6, svid.lifetimeSeconds);
  writer.count(5, svid.notAfter);
  writer.count(4, svid.notBefore);
  backwards(svid.chainDer, (der) => writer.bytes(3, der));
  writer.text(2, svid.serial);
  writer.text(1, svid.spiffeId);
}

function writeRefusal(refusal: Refusal | SignRefusal): void {
  writer.text(4, refusal.refusalId);
  writer.text(3, refusal.next);
  writer.text(2, refusal.message);
  writer.text(1, refusal.code);
}

function writeSvidResult({ requestId, svid, refusal }: X509SvidResult): void {
  writeNested(3, refusal, writeRefusal);
  writeNested(2, svid, writeSvid);
  writer.text(1, requestId);
}

function writeSigned(answer: SignResponse): void {
  backwards(answer.rootsDer, (der) => writer.bytes(8, der));
  writer.text(7, answer.authorityId);
  writer.count(6, answer.notAfter);
  writer.count(5, answer.notBefore);
  backwards(answer.chainDer, (der) => writer.bytes(4, der));
  writer.text(3, answer.serial);
  writer.text(2, answer.spiffeId);
  writer.text(1, answer.requestId);
}

function writeSignResult({ requestId, svid, refusal }: SignResult): void {
  writeNested(3, refusal, writeRefusal);
  writeNested(2, svid, writeSigned);
  writer.text(1, requestId);
}

function writeNested<T>(
  field: number,
  message: T | null | undefined,
  write: (message: T) => void,
): void {
  if (message === undefined || message === null) return;
  const { end } = writer;
  write(message);
  writer.nested(field, end);
}

/** By the path of their method. */
const encoders: Readonly<Record<string, (answer: never) => Buffer>> = {
  '/meshca.issuer.v1.AgentIssuer/SignX509Svids': ({ results }: SignX509SvidsResponse) =>
    writer.write(() => backwards(results, (result) => writeNested(1, result, writeSvidResult))),
  '/meshca.signing.v1.Signing/Sign': (answer: SignResponse) =>
    writer.write(() => writeSigned(answer)),
  '/meshca.signing.v1.Signing/SignBatch': ({ results, rootsDer }: SignBatchResponse) =>
    writer.write(() => {
      backwards(rootsDer, (der) => writer.bytes(2, der));
      backwards(results, (result) => writeNested(1, result, writeSignResult));
    }),
  '/meshca.signing.v1.Signing/SignStream': (answer: SignStreamResponse) =>
    writer.write(() => {
      backwards(answer.rootsDer, (der) => writer.bytes(4, der));
      writeNested(3, answer.result, writeSignResult);
      writer.text(2, answer.id);
      writer.count(1, answer.credits);
    }),
};

/** The service with its answers that hold certificates encoded here, and all others as before. */
export const withCertificateAnswers = (definition: ServiceDefinition): ServiceDefinition =>
  Object.fromEntries(
    Object.entries(definition).map(([name, method]) => {
      const responseSerialize = encoders[method.path];
      return [
        name,
        responseSerialize === undefined
          ? method
          : { ...method, responseSerialize: responseSerialize as (answer: unknown) => Buffer },
      ];
    }),
  );
