import { generateKeyPairSync } from 'node:crypto';
import { statedCsr } from '../../test/support/csr.ts';
import type { AcmeClient, Identifier } from './client.ts';
import { obtain, type Obtained } from './obtain.ts';
import type { HttpResponder } from './responder.ts';

export interface LoadItem {
  readonly client: AcmeClient;
  readonly identifiers: readonly Identifier[];
  readonly more?: object;
}

/** A key and a request for these names. */
export function newCsr(identifiers: readonly Identifier[]): Buffer {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const of = (wanted: Identifier['type']): readonly string[] =>
    identifiers.flatMap(({ type, value }) => (type === wanted ? [value] : []));
  return statedCsr(privateKey, { dnsSans: of('dns'), ips: of('ip') });
}

/**
 * Obtains all certificates, the items of a client one after another, and those of `parallel` clients
 * at a time.
 */
export async function obtainAll(
  lists: readonly (readonly LoadItem[])[],
  parallel: number,
  responder?: HttpResponder,
): Promise<readonly Obtained[]> {
  const obtained: Obtained[] = [];
  const waiting = [...lists];
  const worker = async (): Promise<void> => {
    for (let list = waiting.shift(); list !== undefined; list = waiting.shift())
      for (const { client, identifiers, more } of list) {
        const csrDer = newCsr(identifiers);
        const wanted = { identifiers, csrDer, ...(more === undefined ? {} : { more }) };
        obtained.push(
          await obtain(client, responder === undefined ? wanted : { ...wanted, responder }),
        );
      }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  return obtained;
}
