import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { lanAddress } from '../lan.ts';

/** A host that shows http-01, at this machine's address outside of loopback. */
export interface ChallengeHost extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  /** Key authorizations by token. */
  readonly shown: Map<string, string>;
}

export async function challengeHost(): Promise<ChallengeHost> {
  const shown = new Map<string, string>();
  const address = lanAddress();
  const server = createServer(({ url = '' }, response) => {
    const text = shown.get(url.replace('/.well-known/acme-challenge/', ''));
    response.writeHead(text === undefined ? 404 : 200).end(text ?? '');
  }).listen(0, address);
  await once(server, 'listening');
  return {
    address,
    port: (server.address() as AddressInfo).port,
    shown,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
