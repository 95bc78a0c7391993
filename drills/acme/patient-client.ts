import { setTimeout as sleep } from 'node:timers/promises';
import { parseCertificate } from '../../src/common/x509/index.ts';
import { unwrap } from '../../src/common/errors/index.ts';
import { patienceMs } from '../../test/support/until.ts';
import { AcmeProblem, type AcmeClient, type Identifier } from './client.ts';
import { newCsr } from './load.ts';
import { complete } from './obtain.ts';
import type { HttpResponder } from './responder.ts';

/** The server could not be reached, or says itself that the client is to come again. */
const isPassing = (thrown: unknown): boolean =>
  thrown instanceof AcmeProblem ? thrown.status >= 500 : /ECONN|EPIPE|socket/.test(String(thrown));

/**
 * Obtains a certificate, whatever happens to the server meanwhile: each step is tried again until
 * there is an answer, as clients do. An order whose answer was lost is made again.
 *
 * @returns the serial, in lower-case hex
 */
export async function obtainPatiently(
  client: AcmeClient,
  {
    identifiers,
    responder,
  }: { readonly identifiers: readonly Identifier[]; readonly responder: HttpResponder },
): Promise<string> {
  const csrDer = newCsr(identifiers);
  const { url } = await again(() => client.createOrder(identifiers));
  const pem = await again(() => complete(client, url, { csrDer, responder }));
  const leaf = pem.slice(0, pem.indexOf('-----END CERTIFICATE-----')).split('\n').slice(1).join('');
  return unwrap(parseCertificate(Buffer.from(leaf, 'base64'))).serialHex;
}

export async function again<T>(step: () => Promise<T>): Promise<T> {
  for (const endMs = performance.now() + patienceMs; ; ) {
    try {
      return await step();
    } catch (thrown) {
      if (!isPassing(thrown) || performance.now() > endMs) throw thrown;
      await sleep(50);
    }
  }
}
