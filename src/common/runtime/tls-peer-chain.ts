import type { PeerCertificate, Server, TLSSocket } from 'node:tls';

/**
 * Node 24.21 and 26.8 lose the intermediates of a client. On the server side they remove the first
 * certificate from OpenSSL's list of the peer's chain just before `secureConnection`, so that
 * `getPeerCertificate(true)` has only the leaf afterwards (nodejs/node issue 65579). Before that
 * event the list is whole.
 */
const kept = new WeakMap<TLSSocket, readonly Buffer[]>();

/** Makes `peerChainOf` work for the connections of this server. Call it before the first one. */
export function keepPeerChains(server: Server): void {
  const seen = new WeakSet<TLSSocket>();
  // the only public event during the handshake of a connection; the secrets that it carries are not
  // read
  server.on('keylog', (_line: Buffer, socket: TLSSocket) => {
    if (seen.has(socket)) return;
    seen.add(socket);
    socket.prependOnceListener('secure', () => kept.set(socket, readChain(socket)));
  });
}

/**
 * The certificates that the peer sent (DER), leaf first, perhaps followed by a root from our own
 * trust store. Empty if it sent none. At most 10, and none of them is verified here.
 */
export const peerChainOf = (socket: TLSSocket): readonly Buffer[] =>
  kept.get(socket) ?? readChain(socket);

interface ChainedCertificate extends PeerCertificate {
  readonly issuerCertificate?: ChainedCertificate;
}

const readChain = (socket: TLSSocket): readonly Buffer[] =>
  chainOf(socket.getPeerCertificate(true));

/** The same from the object that Node hands to `checkServerIdentity`. */
export function chainOf(leaf: PeerCertificate): readonly Buffer[] {
  const chain: Buffer[] = [];
  for (
    let each: ChainedCertificate | undefined = leaf;
    each?.raw !== undefined && chain.length < 10;
    each = each.issuerCertificate
  ) {
    const { raw }: { readonly raw: Buffer } = each;
    if (chain.some((earlier) => earlier.equals(raw))) break;
    chain.push(raw);
  }
  return chain;
}
