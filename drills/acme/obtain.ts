import { setTimeout as sleep } from 'node:timers/promises';
import { patienceMs } from '../../test/support/until.ts';
import type { AcmeClient, AcmeAnswer, Identifier } from './client.ts';
import type { HttpResponder } from './responder.ts';

export interface Wanted {
  readonly identifiers: readonly Identifier[];
  readonly csrDer: Buffer;
  /** Of the order: `profile`, `replaces`. */
  readonly more?: object;
  /** Absent: the account shows nothing for its names. */
  readonly responder?: HttpResponder;
}

export interface Obtained {
  readonly orderUrl: string;
  readonly chainPem: string;
}

/** Obtains a certificate as a client does: order, challenges, CSR, and the certificate. */
export async function obtain(client: AcmeClient, wanted: Wanted): Promise<Obtained> {
  const { url } = await client.createOrder(wanted.identifiers, wanted.more);
  return { orderUrl: url, chainPem: await complete(client, url, wanted) };
}

/**
 * Goes on with an order, whatever was reached before, up to its certificate.
 *
 * @throws AcmeProblem, or an Error if the order became invalid
 */
export async function complete(
  client: AcmeClient,
  url: string,
  { csrDer, responder }: Pick<Wanted, 'csrDer' | 'responder'>,
): Promise<string> {
  for (const endMs = performance.now() + patienceMs; performance.now() < endMs; ) {
    const { json: order } = await client.post(url);
    if (order['status'] === 'pending' && responder !== undefined)
      await authorize(client, order, responder);
    else if (order['status'] === 'ready') {
      const csr = csrDer.toString('base64url');
      const { json: after } = await client.post(String(order['finalize']), { csr });
      if (after['status'] === 'valid') return download(client, after);
    } else if (order['status'] === 'valid') return download(client, order);
    else if (order['status'] === 'invalid')
      throw new Error(`the order ${url} is invalid: ${JSON.stringify(order['error'])}`);
    if (order['status'] !== 'ready') await sleep(20);
  }
  throw new Error(`the order ${url} has not ended within ${patienceMs} ms`);
}

async function authorize(
  client: AcmeClient,
  order: AcmeAnswer['json'],
  responder: HttpResponder,
): Promise<void> {
  for (const url of order['authorizations'] as readonly string[]) {
    const { json } = await client.post(url);
    const challenge = (json['challenges'] as readonly Record<string, string>[]).find(
      ({ type }) => type === 'http-01',
    );
    if (json['status'] !== 'pending' || challenge?.['status'] !== 'pending') continue;
    const token = String(challenge['token']);
    responder.offer(token, client.keyAuthorization(token));
    await client.post(String(challenge['url']), {});
  }
}

const download = async (client: AcmeClient, order: AcmeAnswer['json']): Promise<string> =>
  (await client.post(String(order['certificate']))).text;
