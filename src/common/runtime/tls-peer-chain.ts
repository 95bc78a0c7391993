import type { PeerCertificate, Server, TLSSocket } from 'node:tls';

/**
 * Node 24.21 and 26.8 lose the intermediates of a client: on the server side they take the first
 * certificate out of OpenSSL's list of the peer's chain just before `secureConnection`, so
 * `getPeerCertificate(true)` has the leaf alone afterwards (nodejs/node issue 65579). Read before
 * that, the list is whole.
 */
const kept = new WeakMap<TLSSocket, readonly Buffer[]>();

/**
 * Lets `peerChainOf` work for the connections of this server; to be called before the first one.
 */
export function keepPeerChains(server: Server): void {
  const seen = new WeakSet<TLSSocket>();
  // the one public event that names a connection during its handshake; the secrets that come with
  // it are not looked at
  server.on('keylog', (_line: Buffer, socket: TLSSocket) => {
    if (seen.has(socket)) return;
    seen.add(socket);
    socket.prependOnceListener('secure', () => kept.set(socket, readChain(socket)));
  });
}

/**
 * The certificates that the peer sent (DER), leaf first, perhaps followed by a root from the own
 * trust store; empty if it sent none. Nothing about them is verified here. At most 10.
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
